"""The pages that a learner trains on again: the newest, and a uniform sample of all pages there ever were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.ranker.domain.user_features import IntArray
from training.ranking.examples import Examples


class Buffer:
    """Bounded, and the same for the same pages, however often they are added: those with the largest digests stay.

    A page is identified by its position in the log of impressions. `positions` [r] are those of `examples`, ascending.
    """

    def __init__(self, recent: int, reservoir: int = 0) -> None:
        self._recent, self._reservoir = recent, reservoir
        self.examples, self.positions = Examples.none(), np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, examples: Examples, positions: IntArray) -> None:
        if not len(positions):
            return
        joined = Examples.joined([self.examples, examples]) if len(self) else examples
        places, rows = np.unique(np.concatenate([self.positions, positions]), return_index=True)
        self._keep(joined, places, rows, self._chosen(places))

    def keep(self, stays: npt.NDArray[np.bool_]) -> None:
        """Drops the other pages; `stays` [r]."""
        if not stays.all():
            self._keep(self.examples, self.positions, np.arange(len(self)), stays)

    def sample(self, count: int, random: np.random.Generator) -> Examples:
        """At most `count` pages, drawn without replacement."""
        chosen = random.permutation(len(self))[:count]
        return self.examples.take(np.sort(chosen))

    def newest(self, count: int) -> Examples:
        return self.examples.take(np.arange(max(0, len(self) - count), len(self)))

    def _chosen(self, places: IntArray) -> npt.NDArray[np.bool_]:
        chosen = np.zeros(len(places), np.bool_)
        chosen[len(places) - min(self._recent, len(places)) :] = True
        if self._reservoir:
            ranks = np.array([_digest(place) for place in places.tolist()], np.uint64)
            chosen[np.argsort(ranks)[-self._reservoir :]] = True
        return chosen

    def _keep(
        self, joined: Examples, places: IntArray, rows: npt.NDArray[np.intp], chosen: npt.NDArray[np.bool_]
    ) -> None:
        self.examples, self.positions = joined.take(rows[chosen]), places[chosen]


def still_there(examples: Examples, positions: IntArray, oldest: Mapping[str, int]) -> npt.NDArray[np.bool_]:
    """[r]: whether a page is still in the log. A page of an unknown person always is.

    `oldest` is the first position of each person who has one.
    """
    pairs = zip(examples.persons.tolist(), positions.tolist(), strict=True)
    return np.array([not person or at >= oldest.get(person, at + 1) for person, at in pairs], np.bool_)


def _digest(place: int) -> int:
    return int.from_bytes(hashlib.blake2b(str(place).encode(), digest_size=8).digest(), "little")
