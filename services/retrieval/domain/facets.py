"""Facets: how many products have each value of a field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from services.common.facets import ATTRIBUTE_FACET, CATEGORY_FACET
from services.common.filters import PriceRange
from services.common.product import CATEGORY_SEPARATOR, category_ancestry
from services.retrieval.domain.candidates import Candidates

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
