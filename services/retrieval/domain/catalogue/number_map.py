"""A map from 64-bit numbers to small ones, in a tenth of the memory of a dict."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.catalogue.growing import IntArray, KeyArray, RowArray

NOWHERE = -1
_RECENT_MIN = 4_096


class NumberMap:
    """Sorted arrays, and a dict of what changed since they were sorted."""

    def __init__(self, keys: KeyArray | None = None, values: IntArray | None = None) -> None:
        """`keys` sorted and distinct."""
        self._keys = np.empty(0, np.uint64) if keys is None else keys
        self._values = np.empty(0, np.int32) if values is None else values
        self._recent: dict[int, int] = {}

    def __getitem__(self, key: int) -> int:
        """NOWHERE if the key is unknown."""
        value = self._recent.get(key)
        if value is not None:
            return value
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        if place < len(self._keys) and int(self._keys[place]) == key:
            return int(self._values[place])
        return NOWHERE

    def __setitem__(self, key: int, value: int) -> None:
        """NOWHERE removes the key."""
        self._recent[key] = value

    def find(self, keys: KeyArray) -> RowArray:
        """The value of each key, NOWHERE if it is unknown."""
        found = np.full(len(keys), NOWHERE, np.intp)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            hit = self._keys[places] == keys
            found[hit] = self._values[places[hit]]
        if self._recent:
            for at, key in enumerate(keys.tolist()):
                value = self._recent.get(key)
                if value is not None:
                    found[at] = value
        return found

    @property
    def nbytes(self) -> int:
        """Without the recent changes."""
        return self._keys.nbytes + self._values.nbytes

    @property
    def is_due(self) -> bool:
        """Whether `tidied` is worth its cost."""
        return len(self._recent) > max(_RECENT_MIN, len(self._keys) // 4)

    def tidied(self) -> NumberMap:
        """An equal map without recent changes."""
        changed = np.fromiter(self._recent, np.uint64, len(self._recent))
        values = np.fromiter(self._recent.values(), np.int32, len(self._recent))
        kept = ~np.isin(self._keys, changed) if len(changed) else np.ones(len(self._keys), np.bool_)
        present = values != NOWHERE
        return NumberMap.of(
            np.concatenate([self._keys[kept], changed[present]]), np.concatenate([self._values[kept], values[present]])
        )

    @classmethod
    def of(cls, keys: KeyArray, values: npt.NDArray[np.signedinteger]) -> NumberMap:
        """`keys` distinct, in any order."""
        order = np.argsort(keys)
        return cls(keys[order], values[order].astype(np.int32))
