"""The brand cap: of WINDOW places in a row, one brand has at most so many, BRAND_CAP unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

WINDOW = 10
# Of the NDCG@10 of recommendations a cap of 3 costs 3.3 %, one of 5 costs 0.6 % (validation of Amazon Beauty).
BRAND_CAP = 5
# The number of items without a brand, which are never capped.
_UNKNOWN = 0


class BrandCap:
    """Follows a slate place by place. `brands` [n] are the rows' brands, "" if unknown."""

    def __init__(self, brands: Sequence[str], most: int = BRAND_CAP) -> None:
        self._most = most
        numbers = {"": _UNKNOWN}
        self._brand_of = [numbers.setdefault(brand.casefold(), len(numbers)) for brand in brands]
        self._in_window = [0] * len(numbers)
        self._at_cap = np.zeros(len(numbers), np.bool_)
        self._placed: list[int] = []

    def is_capped(self, row: int) -> bool:
        """Whether the brand of the row already has all its places in the current window."""
        return bool(self._at_cap[self._brand_of[row]])

    def capped(self) -> npt.NDArray[np.bool_]:
        """[n]: `is_capped` of every row."""
        rows: npt.NDArray[np.bool_] = self._at_cap[self._brand_of]
        return rows

    def place(self, row: int) -> None:
        """The row takes the next place, and the oldest place leaves the window."""
        self._placed.append(row)
        self._count(row, 1)
        if len(self._placed) >= WINDOW:
            self._count(self._placed[-WINDOW], -1)

    def _count(self, row: int, change: int) -> None:
        brand = self._brand_of[row]
        self._in_window[brand] += change
        self._at_cap[brand] = brand != _UNKNOWN and self._in_window[brand] >= self._most
