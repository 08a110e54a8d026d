"""What campaigns owe: the sum of their billed clicks, at most the budget of each day and of the campaign.

A bill depends on the set of facts only. Where the budget ends within a click, the rest of the budget is billed: the sum
is the same whichever click is counted as the last one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

from services.sponsored.domain.campaign import Campaign, campaign_of
from services.sponsored.domain.facts import Facts
from services.sponsored.domain.invalid_clicks import Verdict

# Of a bill: campaign id and day.
BillKey: TypeAlias = tuple[str, date]


@dataclass(frozen=True)
class DailyBill:
    """`clicks`: billed ones. `value`: the sum of their prices; `amount`: what is owed of it. `refused`: clicks that are
    not billed, by the reason. `sales`, `same_brand_sales`: see attribution.py. Amounts are in minor units of
    `currency`. `is_final`: nothing changes it any more.
    """

    campaign_id: str
    day: date
    currency: str
    impressions: int = 0
    clicks: int = 0
    value: int = 0
    amount: int = 0
    refused: Mapping[Verdict, int] = field(default_factory=dict)
    sales: int = 0
    same_brand_sales: int = 0
    is_final: bool = False

    @property
    def key(self) -> BillKey:
        return self.campaign_id, self.day


@dataclass(frozen=True)
class BilledClick:
    """`key`: the bill that it is on."""

    event_id: str
    key: BillKey
    person_id: str
    item_id: str
    occurred_s: float
    currency: str


@dataclass
class Tally:
    """What some facts add to bills. `unknown`: impressions of campaigns that are not known, by campaign."""

    shown: Counter[BillKey] = field(default_factory=Counter)
    values: Counter[BillKey] = field(default_factory=Counter)
    refused: dict[BillKey, Counter[Verdict]] = field(default_factory=lambda: defaultdict(Counter))
    billed: list[BilledClick] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def campaign_ids(self) -> set[str]:
        return {id for id, _ in self.shown} | self.unknown.keys()

    def add(self, other: Tally) -> None:
        self.shown.update(other.shown)
        self.values.update(other.values)
        for key, counts in other.refused.items():
            self.refused[key].update(counts)
        self.billed += other.billed
        self.unknown.update(other.unknown)


def tally(facts: Facts, verdicts: Mapping[str, Verdict], campaigns: Mapping[str, Campaign]) -> Tally:
    """The day of a bill is that of the impression. Clicks of unknown impressions and campaigns are on no bill."""
    made = Tally()
    for impression in facts.impressions.values():
        if (campaign := campaign_of(impression, campaigns)) is None:
            made.unknown[impression.campaign_id] += 1
        else:
            made.shown[campaign.id, campaign.day_of(impression.shown_s)] += 1
    for click in facts.clicks.values():
        known = facts.impressions.get(click.key)
        if known is None or (campaign := campaign_of(known, campaigns)) is None:
            continue
        key, verdict = (campaign.id, campaign.day_of(known.shown_s)), verdicts[click.event_id]
        if verdict is Verdict.BILLED:
            made.values[key] += known.price
            made.billed.append(
                BilledClick(click.event_id, key, click.person_id, click.item_id, click.occurred_s, known.currency)
            )
        else:
            made.refused[key][verdict] += 1
    return made


def bills(
    counted: Tally, campaigns: Mapping[str, Campaign], paid: Mapping[str, int] | None = None, after: date = date.min
) -> list[DailyBill]:
    """By campaign and day. Only of days later than `after`; `paid`: what campaigns owe for the days until then."""
    clicks = Counter(click.key for click in counted.billed)
    owed, made = Counter(paid or {}), []
    for key in sorted(counted.shown):
        id, day = key
        if day <= after:
            continue
        campaign, value = campaigns[id], counted.values[key]
        amount = min(value, campaign.budget_of(day))
        if campaign.total_budget is not None:
            amount = min(amount, max(0, campaign.total_budget - owed[id]))
        owed[id] += amount
        refused = dict(counted.refused.get(key, {}))
        made.append(DailyBill(id, day, campaign.currency, counted.shown[key], clicks[key], value, amount, refused))
    return made
