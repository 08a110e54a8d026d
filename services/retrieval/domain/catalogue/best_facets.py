"""Which fields split the matches best.

The score of a field is coverage * share of the ten most frequent values * share outside the most frequent one: most
matches have a value, a short list holds most of them, and no value holds all. It is estimated on a sample of the
matches, so that its cost does not grow with the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from services.common.facets import BRAND_FACET, CATEGORY_FACET, PRICE_FACET
from services.retrieval.domain.catalogue.conditions import attribute_field
from services.retrieval.domain.catalogue.counting import Counts, count_distinct
from services.retrieval.domain.catalogue.field_columns import FieldColumn, Matched, ValuesColumn
from services.retrieval.domain.catalogue.growing import IntArray
from services.retrieval.domain.catalogue.matching import Matches
from services.retrieval.domain.catalogue.ranges import Floats, cut_points, numbers_to_split, part_of
from services.retrieval.domain.catalogue.table import Table

_SAMPLE = 500
# Attributes to score: those that most of the sample have.
_CONSIDERED = 32
_SHORT_LIST = 10


def best_facets(table: Table, matches: Matches, without: set[str], count: int) -> list[str]:
    """At most `count` fields of at least two values in the sample, best first; none of `without`."""
    rows = matches.found.rows
    if not count or not len(rows):
        return []
    sample = np.zeros(len(matches.mask), np.bool_)
    sample[rows[:: math.ceil(len(rows) / _SAMPLE)]] = True
    scores = {field: score for field, score in _scores(table, matches, Matched(sample)) if field not in without}
    ordered = sorted(scores, key=lambda field: (-scores[field], field))
    return [field for field in ordered if scores[field] > 0][:count]


def _scores(table: Table, matches: Matches, sample: Matched) -> Iterator[tuple[str, float]]:
    yield CATEGORY_FACET, _score(table.categories, sample)
    yield BRAND_FACET, _score(table.brands, sample)
    prices = matches.conditions.offers.prices.take(sample.rows)
    known = np.sort(prices[~np.isnan(prices)])
    yield PRICE_FACET, _of_parts(known, len(known), sample)
    names, counts = _distinct(table.names.pairs(sample)[1])
    for name in names[np.argsort(-counts, kind="stable")[:_CONSIDERED]].tolist():
        form = table.names.spellings.texts[name]
        yield attribute_field(form), _score(table.attributes[form], sample)


def _score(column: FieldColumn, sample: Matched) -> float:
    rows, codes = column.pairs(sample)
    with_value = count_distinct(rows)
    if isinstance(column, ValuesColumn):
        present, often = _distinct(codes)
        if len(numbers := numbers_to_split(column.numbers.take(present), often)):
            return _of_parts(numbers, with_value, sample)
    return _of_counts(_distinct(column.spellings.value_of.take(codes))[1], with_value, sample)


def _of_parts(numbers: Floats, with_value: int, sample: Matched) -> float:
    return _of_counts(np.bincount(part_of(numbers, cut_points(numbers))), with_value, sample)


def _of_counts(counts: Counts, with_value: int, sample: Matched) -> float:
    """`counts`: by value; 0 if there are less than two values."""
    counts = np.sort(counts[counts > 0])[::-1]
    if len(counts) < 2:
        return 0.0
    whole = counts.sum()
    return float(with_value / len(sample) * counts[:_SHORT_LIST].sum() / whole * (1 - counts[0] / whole))


def _distinct(numbers: IntArray) -> tuple[IntArray, Counts]:
    """(the different ones, ascending, how often each): a tenth of the time of np.unique for a sample."""
    ordered = np.sort(numbers)
    firsts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(ordered) else np.empty(0, np.intp)
    return ordered.take(firsts), np.diff(np.append(firsts, len(ordered)))
