"""What the consumer of the log needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.pricing.learning.competitors import ObservedPrice
from services.pricing.learning.facts import Impression, Interaction, ListedProduct


class Log(Enum):
    """Whose place is stored."""

    EVENTS = "events"
    IMPRESSIONS = "impressions"
    CATALOGUE = "catalogue"

    __hash__ = object.__hash__


@dataclass(frozen=True)
class LogPage:
    """`page_token` is always set. `read_up_to_s`: the time of the last record, None without one."""

    impressions: Sequence[Impression]
    interactions: Sequence[Interaction]
    page_token: str
    is_last: bool
    read_up_to_s: float | None


@dataclass(frozen=True)
class CataloguePage:
    """`is_restarted`: the place of the token was lost, and this page begins with the first product. `observed`: what
    competitors ask for the products.
    """

    products: Sequence[ListedProduct]
    page_token: str
    is_last: bool
    is_restarted: bool
    observed: Sequence[ObservedPrice] = ()


class DemandLog(Protocol):
    """The log and the catalogue of one tenant. An empty page token: from the start. Every call raises LogFailed."""

    def read(self, log: Log, page_token: str) -> LogPage:
        """A page of EVENTS or IMPRESSIONS."""

    def catalogue(self, page_token: str) -> CataloguePage:
        """Products in the order of their last change. Raises PlaceLost."""


@dataclass(frozen=True)
class Bounds:
    """`open_days`: how long impressions, clicks and carts are kept as facts, and `refund_days` purchases and refunds;
    at most `impressions` and `interactions` of them. `days` and `rows`: of the periods that are kept.
    """

    open_days: float
    refund_days: float
    impressions: int
    interactions: int
    days: int
    rows: int
