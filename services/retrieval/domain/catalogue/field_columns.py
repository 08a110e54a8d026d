"""The values of one field of all products: one value a product, a category path, or several values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.common.comparison import category_form, comparison_form, number_of
from services.common.product import CATEGORY_SEPARATOR, MAX_CATEGORY_LEVELS
from services.retrieval.domain.catalogue.growing import BoolArray, Growing, IntArray, RowArray
from services.retrieval.domain.catalogue.spellings import Spellings

MISSING = -1
# Two binary searches cost as much as passing over this number of pairs.
_SEARCH_COST = 128


@dataclass(frozen=True)
class Matched:
    """A set of rows: a mask over all of them."""

    mask: BoolArray

    @cached_property
    def rows(self) -> RowArray:
        """Ascending."""
        return np.flatnonzero(self.mask)

    def __len__(self) -> int:
        return len(self.rows)


class FieldColumn(ABC):
    """A spelling's code for each row that has a value. `spellings` says what the codes mean."""

    def __init__(self, spellings: Spellings | None = None) -> None:
        self.spellings = Spellings() if spellings is None else spellings

    @abstractmethod
    def pairs(self, matched: Matched) -> tuple[RowArray | IntArray, IntArray]:
        """(rows, codes) of the matched rows' values, rows ascending; a row with several values comes several times."""

    @abstractmethod
    def mask(self, selected: BoolArray, size: int) -> BoolArray:
        """[size]: the rows with a value of `selected` [spellings]."""

    def levels(self) -> Sequence[IntArray] | None:
        """What a code counts for, as arrays [spellings] of codes, MISSING for nothing. None: for itself only."""
        return None

    def count_uses(self, codes: IntArray, change: int) -> None:
        """Notes `change` products more with each of `codes`."""
        np.add.at(self.spellings.uses, codes, change)

    def release(self, matched: Matched) -> None:
        """Notes that these rows are dead."""
        self.count_uses(self.pairs(matched)[1], -1)


class SingleColumn(FieldColumn):
    """At most one value a product."""

    def __init__(self, spellings: Spellings | None = None, codes: IntArray | None = None) -> None:
        super().__init__(spellings)
        self.codes = Growing(np.int32, codes)

    def code(self, text: str) -> int:
        """Of one product's value, MISSING for a blank one."""
        spelling = " ".join(text.split())
        known = self.spellings.find(spelling)
        if known is not None:
            return known
        form = comparison_form(spelling)
        return self.spellings.add(spelling, form) if form else MISSING

    def extend(self, codes: Sequence[int]) -> None:
        added = np.array(codes, np.int32)
        self.codes.extend(added)
        self.count_uses(added[added != MISSING], 1)

    def pairs(self, matched: Matched) -> tuple[RowArray, IntArray]:
        codes = self.codes.view.take(matched.rows)
        present = codes != MISSING
        return (matched.rows, codes) if present.all() else (matched.rows[present], codes[present])

    def mask(self, selected: BoolArray, size: int) -> BoolArray:
        # The last entry is that of MISSING.
        return np.append(selected, False).take(self.codes.view[:size])

    def compacted(self, kept: RowArray) -> SingleColumn:
        """With the rows `kept`, ascending."""
        spellings, moved = self.spellings.in_use()
        return SingleColumn(spellings, np.append(moved, MISSING).astype(np.int32).take(self.codes.view[kept]))


class CategoryColumn(SingleColumn):
    """One path a product, which counts for all paths above it as well."""

    def __init__(self, spellings: Spellings | None = None, codes: IntArray | None = None) -> None:
        super().__init__(spellings, codes)
        # By level, broad to narrow: the code of the path that far, MISSING below the end of a path.
        self._levels = [Growing(np.int32) for _ in range(MAX_CATEGORY_LEVELS)]

    def path_code(self, path: Sequence[str]) -> int:
        names = [" ".join(name.split()) for name in path[:MAX_CATEGORY_LEVELS]]
        known = self.spellings.find(CATEGORY_SEPARATOR.join(names))
        if known is not None or not names:
            return MISSING if known is None else known
        form = category_form(names)
        codes: list[int] = []
        for depth in range(1, len(names) + 1):
            code = self.spellings.add(CATEGORY_SEPARATOR.join(names[:depth]), form[:depth])
            codes.append(code)
            if code == len(self._levels[0]):
                for level, at in zip(self._levels, [*codes, *[MISSING] * MAX_CATEGORY_LEVELS], strict=False):
                    level.extend([at])
        return codes[-1]

    def levels(self) -> Sequence[IntArray]:
        return [level.view for level in self._levels if (level.view != MISSING).any()]

    def count_uses(self, codes: IntArray, change: int) -> None:
        for level in self.levels():
            counted = level[codes]
            super().count_uses(counted[counted != MISSING], change)

    def mask(self, selected: BoolArray, size: int) -> BoolArray:
        """The rows at or below a path of `selected`."""
        below = np.zeros(len(selected), np.bool_)
        for level in self.levels():
            below |= np.append(selected, False).take(level)
        return super().mask(below, size)

    def compacted(self, kept: RowArray) -> CategoryColumn:
        spellings, moved = self.spellings.in_use()
        column = CategoryColumn(spellings, np.append(moved, MISSING).astype(np.int32).take(self.codes.view[kept]))
        present = moved != MISSING
        for level, old in zip(column._levels, self._levels, strict=True):
            level.extend(np.append(moved, MISSING)[old.view[present]])
        return column


class ValuesColumn(FieldColumn):
    """Any number of values a product: an attribute, or the names of a product's attributes."""

    def __init__(
        self, spellings: Spellings | None = None, rows: IntArray | None = None, codes: IntArray | None = None
    ) -> None:
        super().__init__(spellings)
        self.rows, self.codes = Growing(np.int32, rows), Growing(np.int32, codes)
        self._numbers = Growing(np.float64)
        if spellings is not None:
            self._numbers.extend([_number(text) for text in spellings.texts])

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """[spellings]: the number that each is, NaN for none."""
        return self._numbers.view

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.codes.nbytes

    def add(self, rows: Sequence[int], texts: Sequence[Sequence[str]]) -> None:
        """rows[i], above all rows before, has the values texts[i]. Of spellings of one value the first counts."""
        pairs = [(row, code) for row, values in zip(rows, texts, strict=True) for code in self._distinct(values)]
        if pairs:
            added = np.array(pairs, np.int32)
            self.rows.extend(added[:, 0])
            self.codes.extend(added[:, 1])
            self.count_uses(added[:, 1], 1)

    def _distinct(self, texts: Sequence[str]) -> list[int]:
        codes: dict[int, int] = {}
        for text in texts:
            spelling = " ".join(text.split())
            code = self.spellings.find(spelling)
            if code is None:
                form = comparison_form(spelling)
                if not form:
                    continue
                code = self.spellings.add(spelling, form)
                self._numbers.extend([_number(form)])
            codes.setdefault(int(self.spellings.value_of[code]), code)
        return list(codes.values())

    def pairs(self, matched: Matched) -> tuple[IntArray, IntArray]:
        rows, codes = self._first(len(matched.mask))
        if len(matched) * _SEARCH_COST < len(rows):
            places, found = self.pairs_of(matched.rows)
            return matched.rows.astype(np.int32).take(places), found
        places = np.flatnonzero(matched.mask.take(rows))
        return rows.take(places), codes.take(places)

    def pairs_of(self, rows: RowArray) -> tuple[RowArray, IntArray]:
        """(places in `rows`, codes) of the values of these rows, in the order of `rows`."""
        known, wanted = self.rows.view, rows.astype(np.int32)
        starts = np.searchsorted(known, wanted)
        counts = np.searchsorted(known, wanted, side="right") - starts
        places = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return np.repeat(np.arange(len(rows)), counts), self.codes.view.take(places)

    def value_keys(self, rows: RowArray) -> list[int]:
        """Of each row a number for `texts_of`, MISSING for a row without values. Equal numbers are equal values."""
        if not len(self.rows):
            return [MISSING] * len(rows)
        known, wanted = self.rows.view, rows.astype(np.int32)
        starts = np.searchsorted(known, wanted)
        first, second = np.minimum(starts, len(known) - 1), np.minimum(starts + 1, len(known) - 1)
        has_one = known.take(first) == wanted
        has_several = (known.take(second) == wanted) & (second > starts)
        # One value: its code. Several: the place of the first one, below MISSING.
        keys: list[int] = np.where(
            has_several, MISSING - 1 - starts, np.where(has_one, self.codes.view.take(first), MISSING)
        ).tolist()
        return keys

    def texts_of(self, key: int) -> tuple[str, ...]:
        """The values of a number of `value_keys` that is not MISSING."""
        if key >= 0:
            return (self.spellings.texts[key],)
        start = MISSING - 1 - key
        end = int(np.searchsorted(self.rows.view, self.rows.view[start], side="right"))
        return tuple(self.spellings.texts[code] for code in self.codes.view[start:end].tolist())

    def mask(self, selected: BoolArray, size: int) -> BoolArray:
        found = np.zeros(size, np.bool_)
        rows, codes = self._first(size)
        found[rows.take(np.flatnonzero(selected.take(codes)))] = True
        return found

    def _first(self, size: int) -> tuple[IntArray, IntArray]:
        """The pairs of rows below `size`."""
        end = int(np.searchsorted(self.rows.view, np.int32(size)))
        return self.rows.view[:end], self.codes.view[:end]

    def compacted(self, moved_rows: IntArray) -> ValuesColumn:
        """`moved_rows`: by row its new number, MISSING for one that is gone."""
        spellings, moved = self.spellings.in_use()
        rows = moved_rows[self.rows.view]
        kept = rows != MISSING
        return ValuesColumn(spellings, rows[kept], moved[self.codes.view[kept]])


def _number(text: str) -> float:
    number = number_of(text)
    return np.nan if number is None else number
