"""One turn: read the log, compute the bills, record those that are not on record so.

What is on record is read from control when the process starts and after a failure. So a bill whose call was lost is
recorded again, and one of a control that was restored from a backup as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import structlog

from services.common.errors import Overloaded, Unavailable
from services.common.gateway_log import LogFailed
from services.sponsored.accounts import Accounts
from services.sponsored.biller.campaigns import FollowedCampaigns
from services.sponsored.biller.consumer import LogConsumer
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.biller.ports import BillBook, BillsFailed, ShopGateway
from services.sponsored.domain.billing import BillKey, DailyBill

# Products whose brand one turn asks the gateway for.
_BRANDS = 100

_log = structlog.get_logger("kairos.biller")


@dataclass
class _Record:
    """What control has on record, from a day on."""

    from_day: date
    bills: dict[BillKey, DailyBill]


class Biller:
    """`clock` gives seconds since 1970. One thread makes the turns."""

    def __init__(
        self, consumer: LogConsumer, accounts: Accounts, gateway: ShopGateway, book: BillBook,
        campaigns: FollowedCampaigns, metrics: BillerMetrics, upkeep_s: float, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._consumer, self._accounts, self._gateway, self._book = consumer, accounts, gateway, book
        self._campaigns, self._metrics, self._upkeep_s, self._clock = campaigns, metrics, upkeep_s, clock
        self._ledger, self._tenant = consumer.ledger, consumer.tenant
        self._brands = _Brands(self._ledger.brands(self._tenant))
        self._record: _Record | None = None
        # What the bills on record were computed from.
        self._state: object = None
        self._upkeep_at_s = 0.0
        self._lacks_brands = False
        self._was_unknown = frozenset[str]()

    def turn(self, stop: threading.Event) -> None:
        """For services/common/periodic.py."""
        began_s = self._clock()
        try:
            is_read = self._consumer.read_all(stop)
            if stop.is_set():
                return
            # Control is up, and campaigns are those that it publishes: nothing is final that it could still change.
            is_known = self._record is not None and not self._lacks_brands
            if is_read and is_known and self._metrics.is_connected:
                self._accounts.settle(self._tenant)
            self._record_bills(began_s)
            self._metrics.up_to_date.set(began_s)
            if began_s >= self._upkeep_at_s:
                self._keep()
                self._upkeep_at_s = began_s + self._upkeep_s
        except LogFailed as error:
            self._state = None
            self._metrics.failures.labels("log").inc()
            _log.warning("the log was not read and is tried again", error=str(error))
        except (Overloaded, Unavailable) as error:
            self._metrics.failures.labels("ledger").inc()
            _log.warning("the ledger cannot be written; the turn is repeated", error=str(error))
        except BillsFailed as error:
            self._record = None
            self._metrics.failures.labels("bills").inc()
            _log.warning("bills were not recorded and are tried again", error=str(error))

    def _keep(self) -> None:
        self._campaigns.keep()
        self._accounts.trim()
        self._metrics.report(self._ledger.size())

    def _record_bills(self, complete_until_s: float) -> None:
        if self._record is None:
            self._record, self._state = self._on_record(), None
        record = self._record
        state = (
            self._ledger.days(self._tenant), self._ledger.trades_number(self._tenant), self._campaigns.number,
            self._ledger.settled_until(self._tenant), self._accounts.final_until, len(self._brands.known),
        )  # fmt: skip
        if state == self._state:
            self._book.record((), complete_until_s)
            return
        # All up to this day are recorded as final ones.
        last = min(self._accounts.final_until, self._ledger.settled_until(self._tenant))
        computed = self._accounts.statement(self._tenant, record.from_day, self._brands)
        changed = list(_changed(record, computed, last))
        self._book.record(changed, complete_until_s)
        self._metrics.bills.inc(len(changed))
        record.bills |= {bill.key: bill for bill in changed}
        if last >= record.from_day:
            record.from_day = last + timedelta(days=1)
            record.bills = {key: bill for key, bill in record.bills.items() if bill.day > last}
        self._state = state
        self._report_unknown()
        self._learn_brands()

    def _on_record(self) -> _Record:
        """From the first day on of which a bill may be missing, among those that can still be computed."""
        if self._ledger.settled_until(self._tenant) == date.min:
            self._recover()
        oldest = self._accounts.first_day
        found, settled = self._book.bills(oldest), self._ledger.settled_until(self._tenant)
        missing = [
            bill.day
            for bill in self._ledger.final_bills(self._tenant, oldest)
            if bill.key not in found or not found[bill.key].is_final
        ]
        first = min([*missing, settled + timedelta(days=1) if settled > date.min else oldest])
        first = max(first, oldest)
        return _Record(first, {key: bill for key, bill in found.items() if bill.day >= first})

    def _recover(self) -> None:
        """A new ledger takes over the final bills of control: what campaigns have paid counts for total budgets."""
        final = [bill for bill in self._book.bills(date.min).values() if bill.is_final]
        if final:
            until = max(bill.day for bill in final)
            self._ledger.settle(self._tenant, until, final)
            _log.warning("the ledger is new; it takes over final bills of control", bills=len(final), until=str(until))

    def _report_unknown(self) -> None:
        unknown = self._accounts.unknown(self._tenant)
        self._metrics.unknown.set(unknown.total())
        for campaign_id in sorted(unknown.keys() - self._was_unknown):
            _log.warning(
                "ads of an unknown campaign are on no bill; publish the campaign in the currency of its ads",
                campaign_id=campaign_id, impressions=unknown[campaign_id],
            )  # fmt: skip
        self._was_unknown = frozenset(unknown)

    def _learn_brands(self) -> None:
        """The next turn has them."""
        wanted = self._brands.take_wanted()
        # Nothing is final without them.
        self._lacks_brands = bool(wanted)
        found = {item_id: self._gateway.brand(item_id) for item_id in wanted[:_BRANDS]}
        if found:
            self._ledger.keep_brands(self._tenant, found, self._clock())
            self._brands.known |= found
        self._lacks_brands = len(wanted) > len(found)


class _Brands:
    """By product id. It notes those that it does not know."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known
        self._wanted = dict[str, None]()

    def __call__(self, item_id: str) -> str:
        if item_id not in self.known:
            self._wanted[item_id] = None
        return self.known.get(item_id, "")

    def take_wanted(self) -> list[str]:
        wanted, self._wanted = list(self._wanted), {}
        return wanted


def _changed(record: _Record, computed: list[DailyBill], final_until: date) -> Iterator[DailyBill]:
    """Bills that are not on record so. A bill whose day has none any more is one of nothing: a campaign may have got
    another time zone.
    """
    made = {bill.key: bill for bill in computed}
    for key, bill in record.bills.items():
        if key not in made:
            made[key] = DailyBill(*key, bill.currency, is_final=bill.day <= final_until)
    for key, bill in made.items():
        known = record.bills.get(key)
        if known != bill and not (known and known.is_final):
            yield bill
