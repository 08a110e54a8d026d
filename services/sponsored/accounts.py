"""Bills of a tenant's campaigns: final ones from the ledger, those of the last days computed from its facts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from services.sponsored.domain.attribution import WINDOW_S, attributed_sales
from services.sponsored.domain.billing import DailyBill, bills
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Facts
from services.sponsored.domain.invalid_clicks import ClickRules, Verdict, judge
from services.sponsored.ports import Ledger

_DAY_S = 86_400.0


@dataclass(frozen=True)
class AccountRules:
    """A day is final `final_after_days` after it: until then its clicks are waited for. Facts stay `keep_facts_days`,
    final bills `keep_bills_days`.
    """

    final_after_days: int = 3
    keep_facts_days: int = 35
    keep_bills_days: int = 1_100


class Accounts:
    """`campaigns_of` gives the campaigns of a tenant by id, archived ones too: clicks on ads of a campaign that it
    lacks are on no bill. `clock` gives seconds since 1970. All calls may block.
    """

    def __init__(
        self, ledger: Ledger, campaigns_of: Callable[[str], Mapping[str, Campaign]], rules: AccountRules,
        click_rules: ClickRules, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._ledger, self._campaigns_of, self._rules = ledger, campaigns_of, rules
        self._click_rules, self._clock = click_rules, clock

    def statement(self, tenant: str, from_day: date = date.min) -> list[DailyBill]:
        """By campaign and day. Bills of days that are not final change with each click."""
        final = self._ledger.final_bills(tenant, from_day)
        found = [*final, *(bill for bill in self._open(tenant) if bill.day >= from_day)]
        return sorted(found, key=lambda bill: (bill.campaign_id, bill.day))

    def spent(self, tenant: str) -> dict[tuple[str, date], int]:
        """What the clicks of the days that are not final are worth, by campaign and day: also beyond the budgets."""
        return {(bill.campaign_id, bill.day): bill.value for bill in self._open(tenant)}

    def returns(self, tenant: str) -> dict[str, tuple[int, int]]:
        """By campaign: the attributed sales of the clicked products and the value of billed clicks, of seven days."""
        facts = self._ledger.facts(tenant, self._clock() - WINDOW_S, math.inf)
        verdicts = self._verdicts(facts, self._campaigns_of(tenant))
        spent: Counter[str] = Counter()
        for click in facts.clicks.values():
            if verdicts[click.event_id] is Verdict.BILLED:
                impression = facts.impressions[click.key]
                spent[impression.campaign_id] += impression.price
        sales = attributed_sales(facts, verdicts, lambda _: "")
        return {id: (sales[id].product if id in sales else 0, value) for id, value in spent.items()}

    def settle(self, tenant: str) -> None:
        """Makes final what is old enough."""
        until = self._today() - timedelta(days=self._rules.final_after_days)
        if until > self._ledger.settled_until(tenant):
            self._ledger.settle(tenant, until, [bill for bill in self._open(tenant) if bill.day <= until])

    def trim(self) -> int:
        """Removes what is older than is kept; gives its number. Facts of days that are not final stay."""
        kept = max(self._rules.keep_facts_days, self._rules.final_after_days + 2)
        facts_until_s = self._clock() - kept * _DAY_S
        return self._ledger.trim(facts_until_s, self._today() - timedelta(days=self._rules.keep_bills_days))

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def _open(self, tenant: str) -> list[DailyBill]:
        settled, campaigns = self._ledger.settled_until(tenant), self._campaigns_of(tenant)
        # A day of any time zone begins at most 14 hours before that day in UTC. Periods are whole days in UTC.
        from_s = -math.inf
        if settled > date.min:
            from_s = datetime.combine(settled, time(), UTC).timestamp()
        facts = self._ledger.facts(tenant, from_s, math.inf)
        verdicts = self._verdicts(facts, campaigns)
        return bills(facts, verdicts, campaigns, self._ledger.paid(tenant), settled)

    def _verdicts(self, facts: Facts, campaigns: Mapping[str, Campaign]) -> dict[str, Verdict]:
        verdicts = dict[str, Verdict]()
        for period in _by_day(facts):
            verdicts |= judge(period, campaigns, self._click_rules)
        return verdicts


def _by_day(facts: Facts) -> list[Facts]:
    """By the day of the impression in UTC, each with its clicks."""
    periods: dict[int, Facts] = {}
    for impression in facts.impressions.values():
        periods.setdefault(int(impression.shown_s // _DAY_S), Facts()).add([impression])
    for click in facts.clicks.values():
        periods[int(facts.impressions[click.key].shown_s // _DAY_S)].add([click])
    return list(periods.values())
