"""What campaigns owe: the sum of their billed clicks, at most the budget of each day and of the campaign.

A bill depends on the set of facts only. Where the budget ends within a click, the rest of the budget is billed: the sum
is the same whichever click is counted as the last one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Facts
from services.sponsored.domain.invalid_clicks import Verdict


@dataclass(frozen=True)
class DailyBill:
    """`clicks`: billed ones. `value`: the sum of their prices; `amount`: what is owed of it, both in minor units.
    `refused`: clicks that are not billed, by the reason.
    """

    campaign_id: str
    day: date
    impressions: int = 0
    clicks: int = 0
    value: int = 0
    amount: int = 0
    refused: Mapping[Verdict, int] = field(default_factory=dict)


def bills(
    facts: Facts, verdicts: Mapping[str, Verdict], campaigns: Mapping[str, Campaign],
    paid: Mapping[str, int] | None = None, after: date = date.min,
) -> list[DailyBill]:  # fmt: skip
    """By campaign and day; the day is that of the impression. Only of days later than `after`; `paid`: what campaigns
    owe for the days until then. Clicks of unknown impressions and campaigns are on no bill.
    """
    shown, counted = Counter[tuple[str, date]](), Counter[tuple[str, date]]()
    values: Counter[tuple[str, date]] = Counter()
    refused: dict[tuple[str, date], Counter[Verdict]] = defaultdict(Counter)
    for impression in facts.impressions.values():
        campaign = campaigns.get(impression.campaign_id)
        if campaign is not None and (day := campaign.day_of(impression.shown_s)) > after:
            shown[campaign.id, day] += 1
    for click in facts.clicks.values():
        verdict, known = verdicts[click.event_id], facts.impressions.get(click.key)
        if known is None or known.campaign_id not in campaigns:
            continue
        place = known.campaign_id, campaigns[known.campaign_id].day_of(known.shown_s)
        if verdict is Verdict.BILLED:
            counted[place] += 1
            values[place] += known.price
        else:
            refused[place][verdict] += 1
    owed, made = Counter(paid or {}), []
    for id, day in sorted(shown):
        campaign, value = campaigns[id], values[id, day]
        amount = min(value, campaign.daily_budget)
        if campaign.total_budget is not None:
            amount = min(amount, max(0, campaign.total_budget - owed[id]))
        owed[id] += amount
        made.append(DailyBill(id, day, shown[id, day], counted[id, day], value, amount, refused[id, day]))
    return made
