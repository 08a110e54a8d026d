"""What the publisher needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.pricing.domain.publication import OfferedProduct, PriceChange


class GatewayFailed(Exception):
    """The gateway did not do what it was asked. The same call may succeed later, not before `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PageTokenRefused(GatewayFailed):
    """The gateway does not know the page token, for example of another catalogue."""


@dataclass(frozen=True)
class Page:
    """Products in the order of their last change. `next_token` is always set.

    `is_restarted`: the place of the token was lost, and this page begins with the first product.
    """

    products: Sequence[OfferedProduct]
    next_token: str
    is_last: bool
    is_restarted: bool


@dataclass(frozen=True)
class Published:
    """What became of published prices. `missing_ids`: products that the catalogue does not have any more."""

    rejected_count: int = 0
    missing_ids: Sequence[str] = ()


@dataclass(frozen=True)
class Schedule:
    """Products, each with the time at which its price may change next, in seconds since the epoch.

    One with an infinite time is forgotten, as are `gone_ids`.
    """

    upcoming: Sequence[tuple[OfferedProduct, float]]
    gone_ids: Sequence[str] = ()


class ShopGateway(Protocol):
    """The catalogue of one tenant. Every call raises GatewayFailed."""

    def changes(self, page_token: str) -> Page:
        """The products that changed after the place of `page_token`; empty: from the first product on.

        Raises PageTokenRefused.
        """

    def publish(self, changes: Sequence[PriceChange]) -> Published: ...


class PublisherState(Protocol):
    """What survives a restart: the place in the catalogue's changes, and the products whose prices change by time."""

    def page_token(self) -> str:
        """Empty: the catalogue is to be read from its first product on."""

    def restart(self) -> None:
        """Forgets everything."""

    def save(self, schedule: Schedule, page_token: str | None = None, *, is_restarted: bool = False) -> None:
        """Stores both, or neither. `page_token` None: the place stays. `is_restarted`: forgets all products first."""

    def due(self, now_s: float, limit: int) -> list[OfferedProduct]:
        """Products whose time has come, the earliest first."""

    def upcoming_count(self) -> int: ...

    def close(self) -> None: ...
