"""Which products match a query: those with all its content words, with any of them, or the candidates.

A level is a way to match. Which one counts is decided over the whole catalogue, without the filter of the request: the
first level that fills a page. Only if the filter leaves nothing there, the next level counts. So the level does not
depend on what a shopper chooses: if a facet counts n > 0 products for a value, the filter with this value leaves these
n products at the same level, and the total after choosing it is n.

One case needs care. If a filter left nothing at the first level, another value of a field that it restricts may leave
products there. A facet therefore counts the values of such a field at all levels up to the one that counts, and each
value has the count of the first level where it has one (`Matches.levels`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from services.retrieval.domain.catalogue.conditions import Conditions
from services.retrieval.domain.catalogue.field_columns import Matched
from services.retrieval.domain.catalogue.growing import BoolArray, IntArray, RowArray
from services.retrieval.domain.catalogue.words import WordPostings
from services.retrieval.domain.facets import CountAccuracy

# Products that fill a page.
PAGE = 10

# The numbers of the words of one alternative: a product must contain all of them.
Alternative = tuple[int, ...]
# What may stand for one word of a query: a product must contain one of them.
Group = Sequence[Alternative]


class MatchLevel(Enum):
    """As in retrieval.proto."""

    EVERYTHING = "everything"
    ALL_WORDS = "all_words"
    ANY_WORD = "any_word"
    CANDIDATES = "candidates"


@dataclass(frozen=True)
class Matches:
    """The products that match a query and its filter.

    `levels`: the rows that match the query, living or not, at the first level that fills a page, and at each one after
    it up to `level`. `mask`: the matches. `earlier`: matches with more conditions, of which there are none.
    """

    level: MatchLevel
    levels: tuple[BoolArray | None, ...]
    conditions: Conditions
    earlier: Matches | None = None

    @cached_property
    def found(self) -> Matched:
        return Matched(self._mask(self.levels[-1]))

    @property
    def mask(self) -> BoolArray:
        return self.found.mask

    @property
    def accuracy(self) -> CountAccuracy:
        """Candidates are only the best of the products that match, and they were found within the filter."""
        return CountAccuracy.LOWER_BOUND if self.level is MatchLevel.CANDIDATES else CountAccuracy.EXACT

    def without(self, field: str) -> list[Matched]:
        """By level: the matches if the filter had no condition on the field. Levels that must be empty are left out."""
        before = self.earlier
        first = before.without(field) if before is not None and field in before.conditions.fields else []
        if field not in self.conditions.fields:
            return [*first, self.found]
        return [*first, *(Matched(self._mask(level, field)) for level in self.levels)]

    def _mask(self, level: BoolArray | None, without: str = "") -> BoolArray:
        mask = self.conditions.mask(without)
        return mask if level is None else mask & level


def everything(conditions: Conditions) -> Matches:
    """Of a request without a query."""
    return Matches(MatchLevel.EVERYTHING, (None,), conditions)


def matches_of(
    masks: Sequence[BoolArray],
    conditions: Conditions,
    identified: RowArray,
    candidates: RowArray,
    without: BoolArray | None = None,
) -> Matches:
    """`masks`: of each content word the rows with it. `identified`: rows that match whatever their words are.
    `candidates`: the rows of the last level. `without`: rows that match only at the last level.
    """
    levels: list[BoolArray] = []
    for level, mask in _levels(masks, len(conditions.alive), identified, candidates):
        if without is not None and level is not MatchLevel.CANDIDATES:
            mask &= ~without
        if not levels and level is not MatchLevel.CANDIDATES:
            # ANY_WORD counts from the first product on: what lies behind it are the candidates.
            enough = PAGE if level is MatchLevel.ALL_WORDS else 1
            if np.count_nonzero(mask & conditions.alive) < enough:
                continue
        levels.append(mask)
        matches = Matches(level, tuple(levels), conditions)
        if level is MatchLevel.CANDIDATES or len(matches.found):
            return matches
    raise AssertionError("the last level is always taken")


def _levels(
    masks: Sequence[BoolArray], size: int, identified: RowArray, candidates: RowArray
) -> Iterator[tuple[MatchLevel, BoolArray]]:
    if masks:
        yield MatchLevel.ALL_WORDS, _with(with_all(masks), identified)
        yield MatchLevel.ANY_WORD, _with(with_any(masks), identified)
    elif len(identified):
        yield MatchLevel.ANY_WORD, _with(np.zeros(size, np.bool_), identified)
    yield MatchLevel.CANDIDATES, _with(_with(np.zeros(size, np.bool_), identified), candidates)


class WordMasks:
    """The rows that contain words, of the first `size` rows of one kind of postings; of one search.

    A search asks for the same words several times: what was found is kept, one byte a row for each group.
    """

    def __init__(self, postings: WordPostings, size: int) -> None:
        self._postings, self._size = postings, size
        self._rows: dict[int, IntArray] = {}
        self._masks: dict[tuple[Alternative, ...], BoolArray] = {}

    def of(self, group: Group) -> BoolArray:
        """[size]: the rows, living or not, that contain one of the alternatives. Shared: do not change it."""
        alternatives = tuple(group)
        mask = self._masks.get(alternatives)
        if mask is None:
            mask = self._masks[alternatives] = np.zeros(self._size, np.bool_)
            for alternative in filter(None, alternatives):
                mask[self._with_all(alternative)] = True
        return mask

    def _with_all(self, words: Alternative) -> IntArray:
        if len(words) == 1:
            return self._with(words[0])
        rows, *others = sorted(map(self._with, words), key=len)
        for other in others:
            rows = rows[among(rows, other)]
        return rows

    def _with(self, word: int) -> IntArray:
        rows = self._rows.get(word)
        if rows is None:
            rows = self._postings.rows(word)
            if len(rows) and rows[-1] >= self._size:
                rows = rows[: rows.searchsorted(np.int32(self._size))]
            self._rows[word] = rows
        return rows


def among(rows: IntArray, others: IntArray) -> BoolArray:
    """[rows]: whether each is one of `others`; both ascend. np.isin sorts them first: that takes 50 times as long."""
    if not len(others):
        return np.zeros(len(rows), np.bool_)
    is_one: BoolArray = others.take(others.searchsorted(rows), mode="clip") == rows
    return is_one


def with_all(masks: Sequence[BoolArray]) -> BoolArray:
    """[rows]: the rows of all of the masks, of which there is at least one. A new array."""
    joined = masks[0].copy()
    for mask in masks[1:]:
        joined &= mask
    return joined


def with_any(masks: Sequence[BoolArray]) -> BoolArray:
    """[rows]: the rows of one of the masks or more, of which there is at least one. A new array."""
    joined = masks[0].copy()
    for mask in masks[1:]:
        joined |= mask
    return joined


def _with(mask: BoolArray, rows: RowArray) -> BoolArray:
    mask[rows] = True
    return mask
