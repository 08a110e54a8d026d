"""Products found, as columns; facets; and what was given up on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.filters import SortOrder
from services.common.product import CATEGORY_SEPARATOR, Product, category_ancestry
from services.retrieval.domain.query import ATTRIBUTE_FACET, CATEGORY_FACET

NO_STOCK_COUNT = -1
# A person picks from a list; whoever wants every value of a field has the catalogue.
MAX_FACET_COUNTS = 100


@dataclass(frozen=True)
class IndexedProduct:
    """A product as it goes into the index: with its serialised form, handed back as it is, and its fingerprint."""

    product: Product
    serialized: bytes
    fingerprint: bytes = b""


@dataclass(frozen=True)
class Candidates:
    """Row i of each column belongs to ids[i]. Meanings and units: retrieval.proto.

    `vectors` is float16 of shape [n, dimensions], None unless asked for or where the collection has no vectors.
    `attributes` holds (name, value) pairs, and is empty unless facets over attributes were asked for.
    """

    ids: list[str]
    scores: npt.NDArray[np.float32]
    dense_scores: npt.NDArray[np.float32]
    lexical_scores: npt.NDArray[np.float32]
    prices: npt.NDArray[np.float64]
    currencies: list[str]
    categories: list[str]
    brands: list[str]
    stocks: npt.NDArray[np.int64]
    created_at_seconds: npt.NDArray[np.int64]
    products: list[bytes]
    fingerprints: list[bytes]
    attributes: list[list[tuple[str, str]]]
    vectors: npt.NDArray[np.float16] | None = None
    # None without a picture half.
    image_scores: npt.NDArray[np.float32] | None = None

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
                # A column that was not asked for stays empty.
                picked[column.name] = [values[row] for row in rows] if values else values
        return Candidates(**picked)

    def sorted_by(self, order: SortOrder) -> Candidates:
        """By price or date, equal ones by their order so far; as they are for RELEVANCE."""
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
        empty = np.empty(0, np.float32)
        return cls(
            [], empty, empty, empty, np.empty(0), [], [], [], np.empty(0, np.int64), np.empty(0, np.int64), [], [], []
        )


# A product that a filter leaves still answers the query when it is this near to it, measured by what would be found
# without the filter. Below, the shop has no such thing: beige towels are no answer to "beige cardigan". In the demo
# shop the tenth product of a filter with enough to show is at 0.85 to 1.05, that of the others mostly at 0.4 to 0.8.
_STILL_AN_ANSWER = 0.85


def answers(wished: Candidates, candidates: Candidates, page: int) -> list[str]:
    """Ids of `wished` that are about as near to the query as the first `page` of `candidates`, found without a filter.

    By meaning, and by words where there is no dense half.
    """
    nearness = "dense_scores" if np.any(candidates.dense_scores) else "lexical_scores"
    usual = float(np.median(getattr(candidates, nearness)[:page])) if len(candidates) else 0.0
    near = getattr(wished, nearness) >= _STILL_AN_ANSWER * usual
    return [product_id for product_id, is_near in zip(wished.ids, near, strict=True) if is_near]


def boosted(candidates: Candidates, wanted: Sequence[str]) -> Candidates:
    """Those of `candidates` that are `wanted` rise by half the spread of all scores."""
    raised = set(wanted)
    rises = np.array([product_id in raised for product_id in candidates.ids], np.float32)
    if not rises.any():
        return candidates
    spread = float(candidates.scores.max() - candidates.scores.min())
    lifted = replace(candidates, scores=(candidates.scores + rises * np.float32(spread / 2)).astype(np.float32))
    return lifted.take(np.argsort(-lifted.scores, kind="stable"))


@dataclass(frozen=True)
class FacetCount:
    value: str
    count: int


@dataclass(frozen=True)
class Facet:
    """Counts of one field, most frequent first, at most MAX_FACET_COUNTS."""

    field: str
    counts: tuple[FacetCount, ...]

    @classmethod
    def of(cls, field: str, counts: Iterable[tuple[str, int]]) -> Facet:
        ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:MAX_FACET_COUNTS]
        return cls(field, tuple(FacetCount(value, count) for value, count in ordered))


def facet_of_candidates(candidates: Candidates, field: str) -> Facet:
    """Counted over these rows. A product counts once for each category above it and each value of an attribute."""
    if field == CATEGORY_FACET:
        paths = (tuple(path.split(CATEGORY_SEPARATOR)) for path in candidates.categories if path)
        return Facet.of(field, Counter(name for path in paths for name in category_ancestry(path)).items())
    if field.startswith(ATTRIBUTE_FACET):
        wanted = field.removeprefix(ATTRIBUTE_FACET)
        values = (value for row in candidates.attributes for name, value in set(row) if name == wanted)
        return Facet.of(field, Counter(values).items())
    return Facet.of(field, merged_brands(Counter(brand for brand in candidates.brands if brand).items()))


def merged_brands(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """One count for spellings that differ only in case, under the most frequent spelling."""
    merged: dict[str, tuple[str, int]] = {}
    for brand, count in sorted(counts, key=lambda pair: (-pair[1], pair[0])):
        name, so_far = merged.get(brand.casefold(), (brand, 0))
        merged[brand.casefold()] = (name, so_far + count)
    return list(merged.values())


class DegradationReason(Enum):
    ERROR = "error"
    MODEL_VERSION_MISMATCH = "model_version_mismatch"
    NO_PICTURE = "no_picture"


@dataclass(frozen=True)
class Degradation:
    """What was given up, and what stands in its place."""

    reason: DegradationReason
    fallback: str
    detail: str


@dataclass(frozen=True)
class Retrieval:
    """The answer to a RetrievalQuery."""

    candidates: Candidates
    facets: tuple[Facet, ...]
    total_size: int
    soft_filter_applied: bool
    degradations: tuple[Degradation, ...]
    model_version: str
