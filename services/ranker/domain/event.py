"""What a user or visitor did, and what is known of the items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from services.common.arrays import FloatArray
from services.common.money import Money
from services.ranker.domain.person import person_key


class EventType(Enum):
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    REMOVE = "remove"
    DWELL = "dwell"
    SEARCH = "search"
    IMPRESSION = "impression"
    REFUND = "refund"
    CANCELLATION = "cancellation"
    FEEDBACK = "feedback"

    # Members are single objects. An enum hashes its name in Python, which took a tenth of the time of a profile.
    __hash__ = object.__hash__


@dataclass(frozen=True)
class Feedback:
    """`thumb`: 1 up, -1 down, 0 none. `rating`: 1 to 5, 0 none."""

    thumb: int = 0
    rating: int = 0
    text: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    is_product_review: bool = False
    # Of a product review: a number of ModerationOutcome.
    moderation: int = 0
    # Of a product review: when it was written, in seconds since the epoch.
    written_s: float = 0.0


@dataclass(frozen=True)
class Event:
    """`occurred_s` in seconds since the epoch. At least one of `user_id` and `visitor_id` is set.

    `price` was paid for one piece. A `quantity` of 0, of a refund or cancellation only, means all pieces.
    """

    event_id: str
    user_id: str
    session_id: str
    item_id: str
    type: EventType
    occurred_s: float
    attribution_token: str = ""
    query: str = ""
    quantity: int = 1
    dwell_ms: int = 0
    visitor_id: str = ""
    price: Money | None = None
    order_id: str = ""
    quote_id: str = ""
    feedback: Feedback | None = None

    @property
    def person(self) -> str:
        """Whose event it was when it was sent; see `person_key`."""
        return person_key(self.user_id, self.visitor_id)


@dataclass(frozen=True)
class ItemFeatures:
    """Of one item. `vector` has shape [dimensions], or is None; `price` is NaN where unknown.

    `group_id` is the item's own id if it has no group, and empty if the group is not known.
    """

    item_id: str
    vector: FloatArray | None
    model_version: str
    price: float
    category: str
    brand: str
    group_id: str = ""


@dataclass(frozen=True)
class Batch:
    """What one call records: events, and what is known of their items, each once."""

    tenant: str
    events: Sequence[Event]
    items: Sequence[ItemFeatures]


@dataclass(frozen=True)
class HistoryEntry:
    """One event joined with its item as known now. `price` is the item's when the event was recorded, or NaN."""

    item_id: str
    session_id: str
    type: EventType
    occurred_s: float
    dwell_ms: int
    features: ItemFeatures | None
    event_id: str = ""
    query: str = ""
    price: float = math.nan
    order_id: str = ""
    quantity: int = 1
