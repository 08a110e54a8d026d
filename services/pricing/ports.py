"""What pricing needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.pricing.domain.pricing import Offer, PricedItem


@dataclass(frozen=True)
class Quote:
    """One offer on record. Times in seconds since the epoch."""

    quote_id: str
    item: PricedItem
    offer: Offer
    model_version: str
    request_id: str
    quoted_s: float
    valid_until_s: float


class AuditLog(Protocol):
    """Every quote that was ever given; nothing is changed or removed."""

    def append(self, tenant: str, quotes: Sequence[Quote]) -> None:
        """All of them or none; durable when it returns."""

    def quotes_of(self, tenant: str, item_id: str, limit: int = 100) -> list[dict[str, str]]:
        """The newest quotes of an item as they stand in the log, newest first."""

    def close(self) -> None: ...
