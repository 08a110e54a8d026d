"""The showings that a learner keeps: those that wait for the next update, that teach again, and that never teach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.learner.buffer import Buffer, still_there
from services.learner.settings import TeachingSettings
from services.learner.split import is_held_back
from services.ranker.domain.user_features import IntArray
from training.ranking.examples import Examples


class Memory:
    """`oldest(users)` tells each user's first position in the log of impressions, of those who are in it."""

    def __init__(self, settings: TeachingSettings, oldest: Callable[[Sequence[str]], Mapping[str, int]]) -> None:
        self._settings, self._oldest = settings, oldest
        self.clear()

    def clear(self) -> None:
        settings = self._settings
        self.fresh, self.held = self._waiting(), Buffer(settings.held_recent)
        self.replay = Buffer(settings.recent, settings.reservoir)

    def add(self, examples: Examples, positions: IntArray) -> int:
        """How many of them are held back."""
        held = is_held_back(examples.ranking_ids.tolist(), self._settings.held_back)
        for buffer, rows in ((self.held, np.flatnonzero(held)), (self.fresh, np.flatnonzero(~held))):
            buffer.add(examples.take(rows), positions[rows])
        return int(held.sum())

    def next_lesson(self, random: np.random.Generator, has_drifted: bool) -> Examples:
        """What waited, with old showings beside it; from now on it is one of the old ones. Empty: nothing waited."""
        fresh, settings = self.fresh, self._settings
        self.fresh = self._waiting()
        if not len(fresh):
            return Examples.none()
        # After drift the old world teaches the wrong things: what is recent comes along instead.
        count = round(len(fresh) * settings.replay)
        old = self.replay.newest(settings.recent) if has_drifted else self.replay.sample(count, random)
        self.replay.add(fresh.examples, fresh.positions)
        return Examples.joined([part for part in (old, fresh.examples) if len(part)])

    def forget_deleted(self) -> set[str]:
        """Drops what the log has no more; the users whom that concerns."""
        buffers = (self.fresh, self.replay, self.held)
        users = {user for buffer in buffers for user in buffer.examples.user_ids.tolist() if user}
        oldest, gone = self._oldest(sorted(users)), set[str]()
        for buffer in buffers:
            stays = still_there(buffer.examples, buffer.positions, oldest)
            gone |= set(buffer.examples.user_ids[~stays].tolist())
            buffer.keep(stays)
        return gone

    def without_deleted(self, examples: Examples, positions: IntArray) -> IntArray:
        """The rows that the log still has."""
        oldest = self._oldest(np.unique(examples.user_ids).tolist())
        return np.flatnonzero(still_there(examples, positions, oldest))

    def _waiting(self) -> Buffer:
        """Holds whatever may come together before there is an update: none of it is dropped."""
        return Buffer(self._settings.least_showings + self._settings.most_showings)
