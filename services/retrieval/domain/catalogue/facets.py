"""Facets of the matches: values with their counts, ranges, and which fields split the matches best.

Facets are disjunctive: the filter's own condition on a field does not apply to its counts, so that the alternatives to
a chosen value stay. The count of a value is the total after choosing it in place of that condition (matching.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.common.comparison import comparison_form
from services.common.facets import ATTRIBUTE_FACET, BRAND_FACET, CATEGORY_FACET, PRICE_FACET, TYPE_FACET
from services.retrieval.domain.catalogue.best_facets import best_facets
from services.retrieval.domain.catalogue.conditions import attribute_field
from services.retrieval.domain.catalogue.counting import (
    Counts,
    Units,
    ValueCounts,
    count_distinct,
    count_values,
    distinct_pairs,
)
from services.retrieval.domain.catalogue.field_columns import MISSING, FieldColumn, Matched, ValuesColumn
from services.retrieval.domain.catalogue.growing import IntArray, RowArray
from services.retrieval.domain.catalogue.matching import Matches
from services.retrieval.domain.catalogue.prices import usual_currency, with_price
from services.retrieval.domain.catalogue.ranges import (
    cut_points,
    ends_of_parts,
    numbers_to_split,
    part_of,
    price_cuts,
    price_range,
)
from services.retrieval.domain.catalogue.spellings import Spellings
from services.retrieval.domain.catalogue.table import Table
from services.retrieval.domain.facets import MAX_FACET_COUNTS, Facet, FacetCount, FacetRange


@dataclass(frozen=True)
class FacetCounter:
    """Counts the facets of one request. `units`: whether products or groups are counted."""

    table: Table
    matches: Matches
    units: Units

    def facets(self, fields: Sequence[str], best_count: int) -> list[Facet]:
        """Of `fields`, in their order; then at most `best_count` of the others, chosen by `best_facets`."""
        asked = {_known_field(field) for field in fields}
        best = best_facets(self.table, self.matches, asked, best_count)
        return [self.facet(field) for field in (*fields, *best)]

    def facet(self, field: str) -> Facet:
        """`field`: as `facet_violations` allows. Of an attribute that no product has, an empty facet."""
        if field == PRICE_FACET:
            return self._prices()
        if field == CATEGORY_FACET:
            return self._values(field, self.table.categories)
        if field == BRAND_FACET:
            return self._values(field, self.table.brands)
        if field == TYPE_FACET:
            return self._values(field, self.table.types)
        column = self.table.attributes.get(comparison_form(field.removeprefix(ATTRIBUTE_FACET)))
        return Facet(field, (), accuracy=self.matches.accuracy) if column is None else self._values(field, column)

    def _values(self, field: str, column: FieldColumn) -> Facet:
        levels = self.matches.without(_known_field(field))
        pairs = [column.pairs(level) for level in levels]
        counted = [count_values(column, rows, codes, self.units) for rows, codes in pairs]
        ranges = self._number_ranges(column, pairs) if isinstance(column, ValuesColumn) else ()
        listed = tuple(_listed(column.spellings, _first_counts([each.counts for each in counted])))
        return Facet(field, listed, ranges, self.matches.accuracy, self._coverage(levels[-1], counted[-1].with_value))

    def _number_ranges(
        self, column: ValuesColumn, pairs: Sequence[tuple[RowArray | IntArray, IntArray]]
    ) -> tuple[FacetRange, ...]:
        """Between values that occur, so that they are closed and a choice finds what was counted."""
        often = np.bincount(np.concatenate([codes for _, codes in pairs]), minlength=len(column.spellings))
        numbers = numbers_to_split(column.numbers, often)
        if not len(numbers):
            return ()
        cuts = cut_points(numbers)
        part_of_code = np.where(np.isnan(column.numbers), MISSING, part_of(column.numbers, cuts))
        counted = []
        for rows, codes in pairs:
            parts = part_of_code.take(codes)
            present = np.flatnonzero(parts != MISSING)
            counted.append(self._count_parts(rows.take(present), parts.take(present), len(cuts) + 1).counts)
        ends = ends_of_parts(numbers, cuts)
        return tuple(
            FacetRange(count, minimum=ends[part][0], maximum=ends[part][1]) for part, count in _not_empty(counted)
        )

    def _prices(self) -> Facet:
        levels = self.matches.without(PRICE_FACET)
        conditions = self.matches.conditions
        currency = conditions.currency or usual_currency(conditions.offers, levels[-1].rows)
        if not currency:
            return Facet(PRICE_FACET, (), accuracy=self.matches.accuracy)
        priced = [with_price(conditions.offers, level.rows, currency) for level in levels]
        every = np.sort(np.concatenate([prices for _, prices in priced]))
        cuts = price_cuts(every, currency)
        counted = [self._count_parts(rows, part_of(prices, cuts), len(cuts) + 1) for rows, prices in priced]
        ends = ends_of_parts(every, cuts)
        ranges = (
            FacetRange(count, price_range(cuts, part, ends[part][1], currency))
            for part, count in _not_empty([each.counts for each in counted])
        )
        coverage = self._coverage(levels[-1], counted[-1].with_value)
        return Facet(PRICE_FACET, (), tuple(ranges), self.matches.accuracy, coverage)

    def _count_parts(self, rows: RowArray | IntArray, parts: npt.NDArray[np.int64], size: int) -> ValueCounts:
        """A unit counts once for each part. `rows` ascending; a row may have several parts."""
        if self.units.owners is None and (with_part := count_distinct(rows)) == len(rows):
            return ValueCounts(np.bincount(parts, minlength=size), with_part)
        owners, distinct = distinct_pairs(self.units.of_rows(rows), parts)
        return ValueCounts(np.bincount(distinct, minlength=size), count_distinct(owners))

    def _coverage(self, level: Matched, with_value: int) -> float:
        total = self._total if level is self.matches.found else self.units.total(level)
        return with_value / max(total, 1)

    @cached_property
    def _total(self) -> int:
        return self.units.total(self.matches.found)


def _known_field(field: str) -> str:
    """As the conditions name it."""
    name = field.removeprefix(ATTRIBUTE_FACET)
    return field if name == field else attribute_field(comparison_form(name))


def _first_counts(levels: Sequence[Counts]) -> Counts:
    """Of each value the count at the first level that has any."""
    first = levels[0]
    for counts in levels[1:]:
        first = np.where(first > 0, first, counts)
    return first


def _not_empty(levels: Sequence[Counts]) -> Iterator[tuple[int, int]]:
    """(part, count) of those with a count."""
    counts = _first_counts(levels)
    yield from ((part, int(counts[part])) for part in np.flatnonzero(counts).tolist())


def _listed(spellings: Spellings, counts: Counts) -> list[FacetCount]:
    """The most frequent values; which of equally frequent ones are cut off is fixed, but arbitrary."""
    values = np.flatnonzero(counts)
    if len(values) > MAX_FACET_COUNTS:
        often = counts.take(values)
        least = np.partition(often, -MAX_FACET_COUNTS)[-MAX_FACET_COUNTS]
        values = np.concatenate([values[often > least], values[often == least]])[:MAX_FACET_COUNTS]
    ordered = sorted(zip((-counts.take(values)).tolist(), spellings.shown(values.tolist()), strict=True))
    return [FacetCount(text, -count) for count, text in ordered]
