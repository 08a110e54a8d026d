"""Arrays that grow at their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int32]
KeyArray = npt.NDArray[np.uint64]
# Row numbers as numpy's functions give and take them.
RowArray = npt.NDArray[np.intp]

_FIRST_CAPACITY = 8


class Growing(Generic[T]):
    """Its storage doubles when it is full, so that appending is cheap. `view` holds until the next `extend`."""

    def __init__(self, dtype: type[T], values: npt.NDArray[T] | None = None) -> None:
        self._storage: npt.NDArray[T] = np.empty(_FIRST_CAPACITY, dtype) if values is None else values
        self._size = 0 if values is None else len(values)

    def __len__(self) -> int:
        return self._size

    @property
    def view(self) -> npt.NDArray[T]:
        """The values so far. Writing to it changes them."""
        return self._storage[: self._size]

    @property
    def nbytes(self) -> int:
        return self._storage.nbytes

    def extend(self, values: Sequence[float] | npt.NDArray[Any]) -> None:
        needed = self._size + len(values)
        if needed > len(self._storage):
            grown = np.empty(max(needed, 2 * len(self._storage)), self._storage.dtype)
            grown[: self._size] = self.view
            self._storage = grown
        self._storage[self._size : needed] = values
        self._size = needed
