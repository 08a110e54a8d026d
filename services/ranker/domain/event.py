"""What a shopper did, and what is known of the items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class EventType(Enum):
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    REMOVE = "remove"
    DWELL = "dwell"
    SEARCH = "search"
    IMPRESSION = "impression"


@dataclass(frozen=True)
class Event:
    """`occurred_s` in seconds since the epoch."""

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


@dataclass(frozen=True)
class ItemFeatures:
    """Of one item. `vector` has shape [dimensions], or is None; `price` is NaN where unknown."""

    item_id: str
    vector: FloatArray | None
    model_version: str
    price: float
    category: str
    brand: str


@dataclass(frozen=True)
class Circumstances:
    """What of a showing cannot be told from the log later. Rows as in Impressions, or none at all.

    `matches` are retrieval's scores, scaled to [0, 1] over all candidates; `prices` NaN where unknown, `stocks` -1,
    `created_s` 0. `query_vector` is float16, little-endian, empty without a query, of model `vector_version`.
    """

    matches: Sequence[float] = ()
    prices: Sequence[float] = ()
    stocks: Sequence[int] = ()
    created_s: Sequence[int] = ()
    query_vector: bytes = b""
    vector_version: str = ""


@dataclass(frozen=True)
class Impressions:
    """What one answer showed: rows of equal length."""

    ranking_id: str
    user_id: str
    session_id: str
    query: str
    shown_s: float
    model_version: str
    item_ids: Sequence[str]
    positions: Sequence[int]
    propensities: Sequence[float]
    circumstances: Circumstances = field(default_factory=Circumstances)


@dataclass(frozen=True)
class Batch:
    """What one call records: events, and what is known of their items, each once."""

    tenant: str
    events: Sequence[Event]
    items: Sequence[ItemFeatures]


@dataclass(frozen=True)
class HistoryEntry:
    """One event of a user joined with its item as known now. `price` is what it was when the event came; else NaN."""

    item_id: str
    session_id: str
    type: EventType
    occurred_s: float
    dwell_ms: int
    features: ItemFeatures | None
    event_id: str = ""
    query: str = ""
    price: float = math.nan
