"""What pricing needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.pricing.domain.pricing import Offer, PricedItem


@dataclass(frozen=True)
class Quote:
    """An offer as it is written to the audit log. Times are in seconds since the epoch."""

    quote_id: str
    item: PricedItem
    offer: Offer
    model_version: str
    request_id: str
    quoted_s: float
    valid_until_s: float


class AuditLog(Protocol):
    """All quotes that were ever given. A quote is never changed or removed."""

    def append(self, tenant: str, quotes: Sequence[Quote]) -> None:
        """Writes all quotes or none. They are durable when this returns."""

    def quotes_of(self, tenant: str, item_id: str, limit: int = 100) -> list[dict[str, str]]:
        """The newest quotes of an item, newest first, as the columns of the log."""

    def close(self) -> None: ...
