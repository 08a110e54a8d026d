"""Points and conditions on them, in terms that name neither of the engines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from services.common.arrays import compact_rows
from services.common.offers import Offer
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.records import Record
from services.retrieval.domain.legs import Source
from services.retrieval.domain.query import FloatArray
from services.retrieval.ports import Narrowing

# The named vectors.
DENSE = Source.DENSE.value
IMAGE = Source.IMAGE.value
LEXICAL = Source.LEXICAL.value
# Names of item vectors begin so; item_spaces.py says which of them a collection has.
ITEMS_PREFIX = "items-"


@dataclass(frozen=True)
class PointData:
    """`dense` is None for a product without a text vector, `image` for one without an image vector.

    `offers`: all of the product, removed ones too. `items`: item vectors, by the name of the vector.
    """

    id: int
    dense: list[float] | None
    image: list[float] | None
    lexical: SparseWeights
    record: Record
    offers: tuple[Offer, ...] = ()
    items: Mapping[str, list[float]] = field(default_factory=dict)


def with_vector(point: PointData, vector: FloatArray) -> PointData:
    """`vector`: shape [dimensions]; a zero one means that the product has none."""
    if not vector.any():
        return replace(point, dense=None, record=point.record._replace(vector=b""))
    # Of what the payload holds: the record is the same after it was written and after it was read.
    (compact,) = compact_rows(vector.astype(np.float16).astype(np.float32)[np.newaxis])
    return replace(point, dense=vector.tolist(), record=point.record._replace(vector=compact.tobytes()))


@dataclass(frozen=True)
class AtLeast:
    """The number is `minimum` or more."""

    key: str
    minimum: int


@dataclass(frozen=True)
class IsMissing:
    key: str


@dataclass(frozen=True)
class IsOneOf:
    """The point is one of these."""

    ids: frozenset[int]


@dataclass(frozen=True)
class HasVector:
    """The point has a vector of this name, or, with `is_absent`, it has none."""

    using: str
    is_absent: bool = False


Condition = AtLeast | IsMissing | IsOneOf | HasVector


@dataclass(frozen=True)
class Where:
    """All conditions hold and the point is none of `excluded`."""

    conditions: tuple[Condition, ...] = ()
    excluded: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not self.conditions and not self.excluded


def point_id(product_id: str) -> int:
    """64 bits of a hash: the engine hands integers back faster than UUIDs.

    Two of a million products share one with a probability of 3e-8; QdrantIndex refuses the second.
    """
    return int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=8).digest(), "little")


def where(narrowing: Narrowing) -> Where:
    only = () if narrowing.keys is None else (IsOneOf(frozenset(narrowing.keys.tolist())),)
    return Where(only, frozenset() if narrowing.excluded is None else frozenset(narrowing.excluded.tolist()))
