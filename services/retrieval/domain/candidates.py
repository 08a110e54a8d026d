"""Products found, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.arrays import Int8Array
from services.common.filters import SortOrder
from services.common.product import Product
from services.retrieval.domain.legs import KeyArray, ScoredKeys

NO_STOCK_COUNT = -1
Attributes: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class IndexedProduct:
    """A product as it goes into the index: with its serialised form, handed back as it is, and its fingerprint."""

    product: Product
    serialized: bytes
    fingerprint: bytes = b""


@dataclass(frozen=True)
class ReviewSummary:
    """See product.proto."""

    count: int
    mean: float
    rating: float
    sentiment: float


@dataclass(frozen=True)
class Candidates:
    """Row i of each column belongs to ids[i]. Meanings and units: retrieval.proto.

    `keys` are the numbers under which the index stores the products. `vectors` [n, dimensions] are directions in int8
    (common/arrays.py), None unless asked for or if the collection has no vectors. `heading_terms` holds the numbers of
    the words of the product's title and brand, uint32, little-endian. `groups` are item group ids. A column of lists
    that was not asked for is empty.
    """

    ids: list[str]
    keys: KeyArray
    scores: npt.NDArray[np.float32]
    dense_scores: npt.NDArray[np.float32]
    lexical_scores: npt.NDArray[np.float32]
    prices: npt.NDArray[np.float64]
    currencies: list[str]
    categories: list[str]
    brands: list[str]
    stocks: npt.NDArray[np.int64]
    created_at_seconds: npt.NDArray[np.int64]
    groups: list[str]
    costs: npt.NDArray[np.float64]
    products: list[bytes]
    fingerprints: list[bytes]
    heading_terms: list[bytes]
    vectors: Int8Array | None = None
    # None without an image leg.
    image_scores: npt.NDArray[np.float32] | None = None
    # The next columns are filled by `selection.described`. `identifier_matches` is None if there are none,
    # `match_counts` without words, `meets_soft_filter` without a soft filter.
    list_prices: npt.NDArray[np.float64] | None = None
    lowest_prices_30_days: npt.NDArray[np.float64] | None = None
    price_guardrails: npt.NDArray[np.uint8] | None = None
    variant_counts: npt.NDArray[np.int32] | None = None
    identifier_matches: npt.NDArray[np.bool_] | None = None
    match_counts: npt.NDArray[np.int64] | None = None
    meets_soft_filter: npt.NDArray[np.bool_] | None = None
    # None if no type was asked for.
    type_gains: npt.NDArray[np.float32] | None = None
    # None if the query was not assessed (relevance.py).
    relevances: npt.NDArray[np.float32] | None = None
    # None if all are of one tier.
    tiers: npt.NDArray[np.int64] | None = None
    # Of each product (name, values) of the attributes that users may declare. Empty if users may declare none.
    attributes: list[Attributes] = field(default_factory=list)
    product_types: list[str] = field(default_factory=list)
    # None if no product of the catalogue has reviews.
    review_sentiments: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Candidates:
        """These rows, in this order."""
        picked: dict[str, Any] = {}
        for column in fields(self):
            values = getattr(self, column.name)
            if isinstance(values, np.ndarray):
                picked[column.name] = values[np.asarray(rows, dtype=np.intp)]
            else:
                picked[column.name] = [values[row] for row in rows] if values else values
        return Candidates(**picked)

    def rows_of(self, keys: KeyArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """(places in `keys` of the products that are among these, their rows here)."""
        if np.array_equal(keys, self.keys):
            rows = np.arange(len(keys))
            return rows, rows
        if not len(self):
            nothing = np.empty(0, np.intp)
            return nothing, nothing
        order = np.argsort(self.keys)
        rows = order[np.minimum(np.searchsorted(self.keys, keys, sorter=order), len(order) - 1)]
        places = np.flatnonzero(self.keys[rows] == keys)
        return places, rows[places]

    def scored(self, scored: ScoredKeys, *, with_image: bool) -> Candidates:
        """The products of `scored` that are among these, in its order and with its scores."""
        places, rows = self.rows_of(scored.keys)
        picked = self if np.array_equal(rows, np.arange(len(self))) else self.take(rows)
        return replace(
            picked,
            scores=scored.scores[places],
            dense_scores=scored.dense_scores[places],
            lexical_scores=scored.lexical_scores[places],
            image_scores=scored.image_scores[places] if with_image else None,
            type_gains=None if scored.type_gains is None else scored.type_gains[places],
        )

    def sorted_by(self, order: SortOrder) -> Candidates:
        """By price or date, equal ones by their order so far; unchanged for RELEVANCE."""
        if order is SortOrder.RELEVANCE:
            return self
        if order is SortOrder.NEWEST:
            keys = -self.created_at_seconds.astype(np.float64)
        else:
            keys = self.prices if order is SortOrder.PRICE_ASCENDING else -self.prices
        # NaN, an unknown price, sorts last in both directions; date 0 does so by its value.
        return self.take(np.argsort(keys, kind="stable"))

    @classmethod
    def none(cls) -> Candidates:
        keys, scores = np.empty(0, np.uint64), np.empty(0, np.float32)
        prices, counts = np.empty(0, np.float64), np.empty(0, np.int64)
        return cls([], keys, scores, scores, scores, prices, [], [], [], counts, counts, [], prices, [], [], [])
