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
    # Empty: the configured policy.
    policy_id: str = ""


@dataclass(frozen=True)
class AuditSize:
    """What the audit log holds: quotes online, and the bytes of the log and of the archive on this machine's disk.

    `archived_quotes` counts since this process began.
    """

    online_quotes: int
    online_bytes: int
    archive_bytes: int
    archived_quotes: int


class AuditLog(Protocol):
    """All quotes that were ever given: the newest ones online, the others in the archive.

    A quote is never changed. It is removed only by `archive`, after it is safe in the archive.
    """

    def append(self, batches: Sequence[tuple[str, Sequence[Quote]]]) -> list[None]:
        """Writes the quotes of all batches, each of a tenant, or none. They are durable when this returns."""

    def quotes_of(self, tenant: str, item_id: str, limit: int = 100) -> list[dict[str, str]]:
        """The newest quotes of an item that are online, newest first, as the columns of the log."""

    def archive(self, now_s: float) -> int:
        """Moves what is beyond the bounds to the archive. Returns the number of quotes moved. Appending goes on."""

    def size(self) -> AuditSize: ...

    def close(self) -> None: ...
