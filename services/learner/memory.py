"""The pages that a learner keeps: those for the next update, those to train on again, and those held back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from services.learner.buffer import Buffer, still_there
from services.learner.settings import TrainingSettings
from services.ranker.domain.user_features import IntArray
from training.ranking.examples import Examples
from training.ranking.split import held_back_pages


class Memory:
    """`oldest(persons)` gives each person's first position in the log of impressions, of those who are in it."""

    def __init__(self, settings: TrainingSettings, oldest: Callable[[Sequence[str]], Mapping[str, int]]) -> None:
        self._settings, self._oldest = settings, oldest
        self.clear()

    def clear(self) -> None:
        settings = self._settings
        self.fresh, self.held = self._waiting(), Buffer(settings.held_recent)
        self.replay = Buffer(settings.recent, settings.reservoir)

    def add(self, examples: Examples, positions: IntArray) -> int:
        """How many of them are held back."""
        held = held_back_pages(examples)
        for buffer, rows in ((self.held, np.flatnonzero(held)), (self.fresh, np.flatnonzero(~held))):
            buffer.add(examples.take(rows), positions[rows])
        return int(held.sum())

    def restore(self, examples: Examples, positions: IntArray) -> None:
        """Pages of an earlier process: those that are trained on again, and those held back."""
        held = held_back_pages(examples)
        for buffer, rows in ((self.held, np.flatnonzero(held)), (self.replay, np.flatnonzero(~held))):
            buffer.add(examples.take(rows), positions[rows])

    def clicked(self) -> int:
        """Number of pages with a click."""
        return sum(buffer.examples.clicked_pages for buffer in (self.fresh, self.replay, self.held))

    def next_batch(self, random: np.random.Generator, has_drifted: bool) -> Examples:
        """The next training batch: the waiting pages, which become old ones, and old pages. Empty: nothing waited."""
        fresh, settings = self.fresh, self._settings
        self.fresh = self._waiting()
        if not len(fresh):
            return Examples.none()
        # After drift old pages show what is no longer true: recent ones are added instead of a sample of all.
        count = round(len(fresh) * settings.replay)
        old = self.replay.newest(settings.recent) if has_drifted else self.replay.sample(count, random)
        self.replay.add(fresh.examples, fresh.positions)
        return Examples.joined([part for part in (old, fresh.examples) if len(part)])

    def forget_deleted(self) -> set[str]:
        """Drops the pages that are no longer in the log, and gives their persons."""
        buffers = (self.fresh, self.replay, self.held)
        persons = {person for buffer in buffers for person in buffer.examples.persons.tolist() if person}
        oldest, gone = self._oldest(sorted(persons)), set[str]()
        for buffer in buffers:
            stays = still_there(buffer.examples, buffer.positions, oldest)
            gone |= set(buffer.examples.persons[~stays].tolist())
            buffer.keep(stays)
        return gone

    def relabel(self, persons: Collection[str], again: Callable[[list[int]], tuple[Examples, IntArray]]) -> None:
        """Reads the pages of these persons once more: their outcomes have changed. `again` reads pages by position."""
        for buffer in (self.fresh, self.replay, self.held):
            theirs = np.isin(buffer.examples.persons, sorted(persons))
            if theirs.any():
                read = again(buffer.positions[theirs].tolist())
                buffer.keep(~theirs)
                buffer.add(*read)

    def without_deleted(self, examples: Examples, positions: IntArray) -> IntArray:
        """The rows of the pages that are still in the log."""
        oldest = self._oldest(np.unique(examples.persons).tolist())
        return np.flatnonzero(still_there(examples, positions, oldest))

    def _waiting(self) -> Buffer:
        """Has room for all pages that can be waiting before an update."""
        return Buffer(self._settings.least_pages + self._settings.most_pages)
