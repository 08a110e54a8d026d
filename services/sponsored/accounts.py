"""Bills of a tenant's campaigns: final ones from the ledger, those of the last days computed from its facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from services.sponsored.domain.attribution import AttributedSales, attributed_sales
from services.sponsored.domain.billing import DailyBill, Tally, bills, tally
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.invalid_clicks import ClickRules, judge
from services.sponsored.ports import Ledger

_DAY_S = 86_400.0
_EPOCH = date(1970, 1, 1)
# From the day of a bill to its last sale: a click a day later, a purchase seven days after that, and the time zone.
_SALES_DAYS = 10


@dataclass(frozen=True)
class AccountRules:
    """What a day costs is settled `final_after_days` after it: until then its clicks are waited for. Facts stay
    `keep_facts_days`, bills `keep_bills_days`.
    """

    final_after_days: int = 3
    keep_facts_days: int = 35
    keep_bills_days: int = 1_100


@dataclass
class _Counted:
    """Of each day its number in the ledger and its tally, with these campaigns."""

    campaigns: Mapping[str, Campaign] = field(default_factory=dict)
    days: dict[int, tuple[int, Tally]] = field(default_factory=dict)


class Accounts:
    """`campaigns_of` gives the campaigns of a tenant by id, archived ones too: clicks on ads of a campaign that it
    lacks are on no bill. `clock` gives seconds since 1970. All calls may block; one thread makes them.
    """

    def __init__(
        self, ledger: Ledger, campaigns_of: Callable[[str], Mapping[str, Campaign]], rules: AccountRules,
        click_rules: ClickRules, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._ledger, self._campaigns_of, self._rules = ledger, campaigns_of, rules
        self._click_rules, self._clock = click_rules, clock
        self._of: dict[str, _Counted] = {}

    @property
    def final_until(self) -> date:
        """The last day on whose bills no sale is waited for any more."""
        return self._today() - timedelta(days=max(_SALES_DAYS, self._rules.final_after_days))

    @property
    def first_day(self) -> date:
        """The first day whose bills can be computed with all their sales: facts are kept for longer."""
        return self._today() - timedelta(days=self._kept_days - _SALES_DAYS)

    def statement(
        self, tenant: str, from_day: date = date.min, brand_of: Callable[[str], str] = lambda _: ""
    ) -> list[DailyBill]:
        """By campaign and day, with sales. Bills of days that are not final change with each click and purchase."""
        settled = self._ledger.settled_until(tenant)
        # The last click counts: those of the days before may have it.
        first = max(_EPOCH, from_day - timedelta(_SALES_DAYS) if from_day > _EPOCH else _EPOCH)
        counted = self._counted(tenant, min(first, settled if settled > date.min else first))
        open_bills = bills(counted, self._of[tenant].campaigns, self._ledger.paid(tenant), settled)
        trades = self._ledger.trades(tenant, _midnight_s(first))
        sales = attributed_sales(counted.billed, trades.purchases.values(), trades.refunds.values(), brand_of)
        final_until = min(settled, self.final_until)
        found = [*self._ledger.final_bills(tenant, from_day), *(bill for bill in open_bills if bill.day >= from_day)]
        return [
            _with_sales(bill, sales.get(bill.key, AttributedSales()), bill.day <= final_until)
            for bill in sorted(found, key=lambda bill: bill.key)
        ]

    def unknown(self, tenant: str) -> Counter[str]:
        """Impressions on no bill, by the campaign that is not known: of the days that statements were about."""
        return sum((each.unknown for _, each in self._of.get(tenant, _Counted()).days.values()), Counter[str]())

    def settle(self, tenant: str) -> None:
        """Fixes what the days that are old enough cost."""
        until = self._today() - timedelta(days=self._rules.final_after_days)
        if until > self._ledger.settled_until(tenant):
            self._ledger.settle(tenant, until, [bill for bill in self._open(tenant) if bill.day <= until])

    def trim(self) -> int:
        """Removes what is older than is kept; gives its number. Facts that a bill may still need stay."""
        now_s, bills_until = self._clock(), self._today() - timedelta(days=self._rules.keep_bills_days)
        unknown_until_s = now_s - self._rules.final_after_days * _DAY_S
        return self._ledger.trim(now_s - self._kept_days * _DAY_S, unknown_until_s, bills_until)

    @property
    def _kept_days(self) -> int:
        return max(self._rules.keep_facts_days, max(_SALES_DAYS, self._rules.final_after_days) + _SALES_DAYS + 1)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def _open(self, tenant: str) -> list[DailyBill]:
        settled = self._ledger.settled_until(tenant)
        counted = self._counted(tenant, settled if settled > date.min else _EPOCH)
        return bills(counted, self._of[tenant].campaigns, self._ledger.paid(tenant), settled)

    def _counted(self, tenant: str, from_day: date) -> Tally:
        """Of impressions from this day on. A day of any time zone begins at most 14 hours before that day in UTC, so it
        has one day more. Only days with new facts, or campaigns with other terms, are counted again.
        """
        before, campaigns = self._of.get(tenant, _Counted()), self._campaigns_of(tenant)
        ids = before.campaigns.keys() | campaigns.keys()
        changed = {id for id in ids if _terms(before.campaigns.get(id)) != _terms(campaigns.get(id))}
        now, total = self._of.setdefault(tenant, _Counted()), Tally()
        numbers = self._ledger.days(tenant)
        now.campaigns = campaigns
        now.days = {
            day: known
            for day, known in before.days.items()
            if day in numbers and known[0] == numbers[day] and changed.isdisjoint(known[1].campaign_ids)
        }
        for day in sorted(day for day in numbers if day >= (from_day - _EPOCH).days - 1):
            if day not in now.days:
                facts = self._ledger.facts(tenant, day * _DAY_S, (day + 1) * _DAY_S)
                # People are judged by the whole of their day.
                counted = tally(facts, judge(facts, campaigns, self._click_rules), campaigns)
                now.days[day] = numbers[day], counted
            total.add(now.days[day][1])
        return total


def _terms(campaign: Campaign | None) -> object:
    """What the tally of a day depends on."""
    return campaign and (campaign.currency, campaign.schedule.time_zone, campaign.own_person_ids)


def _with_sales(bill: DailyBill, sales: AttributedSales, is_final: bool) -> DailyBill:
    return replace(bill, sales=sales.product, same_brand_sales=sales.same_brand, is_final=is_final)


def _midnight_s(day: date) -> float:
    return (day - _EPOCH).days * _DAY_S
