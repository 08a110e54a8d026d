"""What sponsored needs from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from services.sponsored.domain.billing import DailyBill
from services.sponsored.domain.facts import Fact, Facts


@dataclass(frozen=True)
class LedgerSize:
    """`facts`: impressions, clicks and purchases."""

    facts: int
    bills: int
    bytes: int


class Ledger(Protocol):
    """The facts that bills are computed from, and the bills that are final, by tenant. All calls may block."""

    def record(self, tenant: str, facts: Iterable[Fact], positions: Mapping[str, str] | None = None) -> None:
        """Each fact once, as Facts.add. With them the positions up to which logs were read, by the name of the log:
        both are durable, or neither. Raises Overloaded if the disk is full.
        """

    def position(self, tenant: str, log: str) -> str:
        """Empty: nothing was read."""

    def facts(self, tenant: str, from_s: float, until_s: float) -> Facts:
        """Impressions of this time with all their clicks, and purchases of this time."""

    def settled_until(self, tenant: str) -> date:
        """The last day whose bills are final; date.min if none are."""

    def settle(self, tenant: str, until: date, bills: Sequence[DailyBill]) -> None:
        """Makes bills of days until then final. A day that is final stays as it is."""

    def final_bills(self, tenant: str, from_day: date) -> list[DailyBill]:
        """From this day on, by campaign and day."""

    def paid(self, tenant: str) -> dict[str, int]:
        """What all final bills of a campaign add up to, also of those that were removed."""

    def trim(self, facts_until_s: float, bills_until: date) -> int:
        """Removes facts before that time and final bills before that day. Gives their number."""

    def size(self) -> LedgerSize: ...

    def close(self) -> None: ...
