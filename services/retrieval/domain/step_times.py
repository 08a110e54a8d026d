"""How long each step of a search usually takes, so that a step is skipped if it would not fit into the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum


class Step(Enum):
    """Steps with a time of their own. A QUERY is one leg within one narrowing."""

    QUERY = "query"
    LEARNED_FUSION = "learned fusion"
    READ = "read"
    FACETS = "facets"


# Weight of the latest time in the average.
_WEIGHT = 1 / 8
# A time counts at most as this multiple of the average, so that one pause of the process does not make a step look
# slow. If the step has become slow, the average doubles within six searches.
_MOST = 2.0
# Times vary, and the answer still has to be written and sent.
_SAFETY = 1.5
# Each skip lowers the average by this factor, so that a step that has become fast is tried again.
_FORGOTTEN = 0.9


class StepTimes:
    """Averages over all searches of a process. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._usual_s: dict[Step, float] = {}

    @contextmanager
    def measured(self, step: Step, count: int = 1) -> Iterator[None]:
        """Measures `count` of a step that are done together."""
        began_s = self._clock()
        yield
        took_s = (self._clock() - began_s) / count
        usual_s = self._usual_s.get(step, took_s)
        self._usual_s[step] = usual_s + _WEIGHT * (min(took_s, _MOST * usual_s) - usual_s)

    def fits(self, left_s: float, steps: Mapping[Step, int]) -> bool:
        """Whether so many of each step are usually done within `left_s`. Steps that were never measured fit."""
        if _SAFETY * sum(self._usual_s.get(step, 0.0) * count for step, count in steps.items()) <= left_s:
            return True
        for step in steps:
            self._usual_s[step] = self._usual_s.get(step, 0.0) * _FORGOTTEN
        return False
