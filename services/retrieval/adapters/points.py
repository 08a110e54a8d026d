"""Points and conditions on them, in terms that name neither of the engines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from services.common.arrays import compact_rows
from services.common.filters import ProductFilter
from services.common.offers import Offer
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.records import (
    ATTRIBUTES,
    BRAND_KEY,
    CATEGORY,
    CURRENCY,
    IN_STOCK,
    PRICE,
    YES,
    Record,
    attribute_pair,
)
from services.retrieval.domain.legs import Source
from services.retrieval.domain.query import FloatArray
from services.retrieval.ports import Narrowing

# The named vectors.
DENSE = Source.DENSE.value
IMAGE = Source.IMAGE.value
LEXICAL = Source.LEXICAL.value


@dataclass(frozen=True)
class PointData:
    """`dense` is None for a product without a text vector, `image` for one without an image vector.

    `offers`: all of the product, removed ones too.
    """

    id: int
    dense: list[float] | None
    image: list[float] | None
    lexical: SparseWeights
    record: Record
    offers: tuple[Offer, ...] = ()


def with_vector(point: PointData, vector: FloatArray) -> PointData:
    """`vector`: shape [dimensions]; a zero one means that the product has none."""
    if not vector.any():
        return replace(point, dense=None, record=point.record._replace(vector=b""))
    # Of what the payload holds: the record is the same after it was written and after it was read.
    (compact,) = compact_rows(vector.astype(np.float16).astype(np.float32)[np.newaxis])
    return replace(point, dense=vector.tolist(), record=point.record._replace(vector=compact.tobytes()))


@dataclass(frozen=True)
class AnyOf:
    """The field holds one of these."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Between:
    """The number is in the closed range; None leaves an end open."""

    key: str
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Beyond:
    """The number comes after `value` in this direction."""

    key: str
    value: float
    descending: bool


@dataclass(frozen=True)
class IsMissing:
    key: str


@dataclass(frozen=True)
class IsOneOf:
    """The point is one of these."""

    ids: frozenset[int]


Condition = AnyOf | Between | Beyond | IsMissing | IsOneOf


@dataclass(frozen=True)
class Where:
    """All conditions hold and the point is none of `excluded`."""

    conditions: tuple[Condition, ...] = ()
    excluded: frozenset[int] = frozenset()

    def also(self, condition: Condition) -> Where:
        return Where((*self.conditions, condition), self.excluded)

    @property
    def is_empty(self) -> bool:
        return not self.conditions and not self.excluded


def point_id(product_id: str) -> int:
    """64 bits of a hash: the engine hands integers back faster than UUIDs.

    Two of a million products share one with a probability of 3e-8; QdrantIndex refuses the second.
    """
    return int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=8).digest(), "little")


def where(narrowing: Narrowing) -> Where:
    conditions = tuple(condition for entry in narrowing.filters for condition in _conditions(entry))
    return Where(conditions, frozenset(point_id(excluded) for excluded in narrowing.excluded_ids))


def _conditions(narrowing: ProductFilter) -> Iterator[Condition]:
    if narrowing.categories:
        yield AnyOf(CATEGORY, narrowing.categories)
    if narrowing.brands:
        yield AnyOf(BRAND_KEY, tuple(brand.casefold() for brand in narrowing.brands))
    for attribute in narrowing.attributes:
        yield AnyOf(ATTRIBUTES, tuple(attribute_pair(attribute.name, value) for value in attribute.values))
    if narrowing.price is not None:
        low, high = narrowing.price.minimum, narrowing.price.maximum
        yield AnyOf(CURRENCY, (narrowing.price.currency,))
        yield Between(PRICE, float(low.amount) if low else None, float(high.amount) if high else None)
    if narrowing.in_stock_only:
        yield AnyOf(IN_STOCK, (YES,))
