"""Facets: how many products have each value of a field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from services.common.filters import PriceRange

# A shopper picks from a list; a client that needs every value of a field has the catalogue.
MAX_FACET_COUNTS = 100
MAX_FACET_RANGES = 8


@dataclass(frozen=True)
class FacetCount:
    value: str
    count: int


@dataclass(frozen=True)
class FacetRange:
    """A closed range: `price`, of which the highest has no maximum; or both `minimum` and `maximum` of an attribute."""

    count: int
    price: PriceRange | None = None
    minimum: float | None = None
    maximum: float | None = None


class CountAccuracy(Enum):
    """A lower bound: there are at least so many."""

    EXACT = "exact"
    LOWER_BOUND = "lower_bound"


@dataclass(frozen=True)
class Facet:
    """Counts of one field, most frequent first, at most MAX_FACET_COUNTS; ranges ascending, at most MAX_FACET_RANGES.

    `coverage`: the share of the matches that have a value of the field.
    """

    field: str
    counts: tuple[FacetCount, ...]
    ranges: tuple[FacetRange, ...] = ()
    accuracy: CountAccuracy = CountAccuracy.EXACT
    coverage: float = 0.0

    @classmethod
    def of(cls, field: str, counts: Iterable[tuple[str, int]]) -> Facet:
        ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:MAX_FACET_COUNTS]
        return cls(field, tuple(FacetCount(value, count) for value, count in ordered))
