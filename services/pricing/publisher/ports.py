"""What the publisher needs from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from services.pricing.domain.decision import PriceDecision
from services.pricing.domain.offered_product import OfferedProduct
from services.pricing.domain.publication import AskedReview, KnownProduct, PriceChange


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
class Worked:
    """What a piece of work leaves to be kept, at once or not at all.

    `known`: each with the time at which to look at it again, in seconds since the epoch; infinite: never. `gone_ids`
    are forgotten. `spent`: what discounts have cost in `month`, by the id of the policy, to be added. `page_token`
    None: the place in the changes stays. `is_restarted`: the changes were read from the first product on.
    `is_last_page`: what was not seen since then is forgotten.
    """

    known: Sequence[tuple[KnownProduct, float]]
    gone_ids: Sequence[str] = ()
    spent: Mapping[str, Decimal] = field(default_factory=dict)
    month: str = ""
    page_token: str | None = None
    is_restarted: bool = False
    is_last_page: bool = False


class ShopGateway(Protocol):
    """The catalogue of one tenant. Every call raises GatewayFailed."""

    def changes(self, page_token: str) -> Page:
        """The products that changed after the place of `page_token`; empty: from the first product on.

        Raises PageTokenRefused.
        """

    def publish(self, changes: Sequence[PriceChange]) -> Published: ...


class ReviewsFailed(Exception):
    """Control did not take a review. The same call may succeed later."""


class Reviews(Protocol):
    """What persons decide about prices, in control."""

    def decided(self) -> Mapping[str, bool]:
        """Whether it was approved, by the id of the review: those that persons have decided."""

    def ask(self, review: AskedReview) -> None:
        """Repeating it changes nothing. Raises ReviewsFailed."""


class DecisionRecord(Protocol):
    """Where decisions go on record."""

    def record(self, decisions: Sequence[PriceDecision]) -> None:
        """They are durable when it returns. Repeating it changes nothing. Raises KairosError."""


class PublisherState(Protocol):
    """What survives a restart: the place in the catalogue's changes, and what was seen and published of products."""

    def follow(self, policies: str) -> None:
        """With other policies than before the changes are read again, from the first product on."""

    def page_token(self) -> str:
        """Empty: the catalogue is to be read from its first product on."""

    def restart(self) -> None:
        """The catalogue is read again. What is known of products stays."""

    def known(self, product_ids: Sequence[str]) -> dict[str, KnownProduct]: ...

    def spent(self, month: str) -> dict[str, Decimal]:
        """What discounts have cost in this month, by the id of the policy."""

    def save(self, worked: Worked) -> None: ...

    def due(self, now_s: float, limit: int) -> list[KnownProduct]:
        """Products whose time has come, the earliest first."""

    def waiting(self, review_ids: Collection[str]) -> list[KnownProduct]:
        """Products of which one of these reviews was waited for."""

    def upcoming_count(self) -> int: ...

    def waiting_count(self) -> int:
        """Reviews that are waited for."""

    def close(self) -> None: ...
