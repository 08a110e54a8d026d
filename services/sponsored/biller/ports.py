"""What the biller needs from outside, beside the ledger. All calls may block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Protocol

from services.sponsored.domain.billing import BillKey, DailyBill
from services.sponsored.domain.facts import Fact


class Log(Enum):
    """Whose place is stored."""

    EVENTS = "events"
    IMPRESSIONS = "impressions"

    __hash__ = object.__hash__


@dataclass(frozen=True)
class LogPage:
    """`page_token` is always set. `read_up_to_s`: the time of the last record, None without one. `unreadable`: records
    that were left out.
    """

    facts: Sequence[Fact]
    page_token: str
    is_last: bool
    read_up_to_s: float | None
    unreadable: int = 0


class ShopGateway(Protocol):
    """Of one tenant. Each call raises LogFailed."""

    def read(self, log: Log, page_token: str) -> LogPage:
        """An empty page token: from the start. Raises PlaceLost."""

    def brand(self, product_id: str) -> str:
        """Empty if it has none, or if the catalogue does not have the product."""


class BillsFailed(Exception):
    """Control did not answer. The same call may succeed later."""


class BillBook(Protocol):
    """Bills that are on record, of one tenant. Each call raises BillsFailed."""

    def bills(self, from_day: date) -> dict[BillKey, DailyBill]: ...

    def record(self, bills: Sequence[DailyBill], complete_until_s: float) -> None:
        """With them the time up to which all clicks of the log are on the bills: leases of budgets wait for it. Durable
        when it returns. A bill that is on record and final stays as it is. After a BillsFailed it is unknown
        which are on record.
        """
