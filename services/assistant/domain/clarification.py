"""Which question narrows the search most: expected information over the values of the matching products.

A field's question is worth the bits by which an answer is expected to narrow the matches: the mean over the values,
weighted by how many products have each, of -log2 of the share of the matches that remain. A size that every product
has narrows nothing. An answer about the price is an upper bound. Shoppers cannot answer every question equally well, so
the bits are weighted by field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from services.assistant.domain.conversation import BRAND, CATEGORY, PRICE
from services.assistant.domain.shop import FieldCounts

# How likely a shopper has an answer, by field; attributes: OTHERWISE.
_WEIGHTS = {PRICE: 1.0, CATEGORY: 1.0, BRAND: 0.5}
_OTHERWISE = 0.9
# A question is worth a turn only if it narrows by this many bits, and if more products match than are shown anyway.
LEAST_BITS = 0.3
# Of the matches; a value that fewer products have is not worth a question.
_LEAST_COVERAGE = 0.4


@dataclass(frozen=True)
class Clarifying:
    """`bits`: of the field's question, with its weight."""

    facet: FieldCounts
    bits: float


def expected_bits(facet: FieldCounts, total: int) -> float:
    """Of an answer with one of the values; 0 without values. Products with several values count for each of them."""
    counts = [value.count for value in facet.values if value.count > 0]
    everything = sum(counts)
    if total <= 0 or len(counts) < 2:
        return 0.0
    # A budget has no lower end: all cheaper products remain.
    remaining = list(accumulate(counts)) if facet.field == PRICE else counts
    narrowed = sum(count * -math.log2(min(1.0, left / total)) for count, left in zip(counts, remaining, strict=True))
    return narrowed / everything * min(1.0, facet.coverage)


def best_question(facets: Iterable[FieldCounts], total: int, shown: int, asked: Collection[str]) -> Clarifying | None:
    """The question that narrows most; None if showing the results is better. `asked`: fields that were asked or are
    conditions already.
    """
    if total <= shown:
        return None
    offered = [
        Clarifying(facet, expected_bits(facet, total) * _WEIGHTS.get(facet.field, _OTHERWISE))
        for facet in facets
        if facet.field not in asked and facet.coverage >= _LEAST_COVERAGE
    ]
    best = max(offered, key=lambda one: one.bits, default=None)
    return best if best and best.bits >= LEAST_BITS else None


# Chooses a question: `best_question`, or the baseline below.
Chooser = Callable[[Iterable[FieldCounts], int, int, Collection[str]], Clarifying | None]


def random_question(random: Random) -> Chooser:
    """The baseline: any field that was not asked."""

    def choose(facets: Iterable[FieldCounts], total: int, shown: int, asked: Collection[str]) -> Clarifying | None:
        open_ones = [facet for facet in facets if facet.field not in asked and len(facet.values) > 1]
        return Clarifying(random.choice(open_ones), 0.0) if open_ones and total > shown else None

    return choose


def no_question(facets: Iterable[FieldCounts], total: int, shown: int, asked: Collection[str]) -> Clarifying | None:
    """The other baseline: only results."""
    return None
