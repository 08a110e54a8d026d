"""The values of one field: as products spell them, and which spellings are one value.

Each spelling has a number, its code, and each value has one. Columns hold codes of spellings, so that a value can be
shown as most products spell it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from services.retrieval.domain.catalogue.growing import BoolArray, Growing, IntArray


class Spellings:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}
        self._values: dict[Hashable, int] = {}
        # By spelling: its value, and the number of living products with it.
        self._value_of = Growing(np.int32)
        self._uses = Growing(np.int32)
        # By value: its first spelling; and all of them, if there are several.
        self._first: list[int] = []
        self._several: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def value_count(self) -> int:
        return len(self._first)

    @property
    def value_of(self) -> IntArray:
        """[spellings]: the number of the value of each."""
        return self._value_of.view

    @property
    def uses(self) -> IntArray:
        """[spellings]: the number of living products with each."""
        return self._uses.view

    def find(self, text: str) -> int | None:
        return self._codes.get(text)

    def add(self, text: str, form: Hashable) -> int:
        """The code of a spelling; spellings of equal `form` are one value."""
        code = self._codes.get(text)
        if code is not None:
            return code
        code = len(self.texts)
        value = self._values.setdefault(form, len(self._first))
        if value == len(self._first):
            self._first.append(code)
        else:
            self._several.setdefault(value, [self._first[value]]).append(code)
        self._codes[text] = code
        self.texts.append(text)
        self._value_of.extend([value])
        self._uses.extend([0])
        return code

    def has_form(self, form: Hashable) -> bool:
        """Whether a spelling, in use or not, is of this value."""
        return form in self._values

    def with_forms(self, forms: Iterable[Hashable]) -> BoolArray:
        """[spellings]: which are one of these values."""
        wanted = np.zeros(self.value_count, np.bool_)
        wanted[[self._values[form] for form in forms if form in self._values]] = True
        return wanted[self.value_of]

    def shown(self, values: Sequence[int]) -> list[str]:
        """Of each value the spelling of most products, of equally frequent ones the first by alphabet."""
        first, several = self._first, self._several
        return [self._usual(several[value]) if value in several else self.texts[first[value]] for value in values]

    def _usual(self, codes: Sequence[int]) -> str:
        uses = self.uses
        return min((-int(uses[code]), self.texts[code]) for code in codes)[1]

    def forms(self) -> list[Hashable]:
        """By value: its form."""
        return list(self._values)

    def in_use(self) -> tuple[Spellings, IntArray]:
        """A copy without the spellings that no product uses, and the new code of each old one, -1 if it is gone."""
        kept = Spellings()
        forms, uses, values = self.forms(), self.uses, self.value_of
        moved = np.full(len(self), -1, np.int32)
        for code in np.flatnonzero(uses).tolist():
            moved[code] = kept.add(self.texts[code], forms[values[code]])
        kept.uses[:] = uses[uses > 0]
        return kept, moved
