"""Counts the log of events over all persons, in a thread of its own, off the path of the events.

The position in the log is written together with the counts: after a crash the rest of the log is counted, and nothing
twice. Counts that are lost are made again from the log.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

from services.common.errors import Unavailable
from services.common.periodic import Periodic
from services.ranker.count_batch import CountBatch
from services.ranker.domain.item_counts.neighbours import COUNTS_S, FOLLOWED_S
from services.ranker.domain.item_counts.pairs import PERSON_S
from services.ranker.domain.item_counts.trending import TREND_S
from services.ranker.ports import CountKind, CountStore, LogBound, ProfileStore

# Events of one step while there are requests. After it the thread waits twice as long as the step took: the time is
# for requests. Without requests there is no wait, and a step is as large as the store allows: large steps change each
# document once for many events.
STEP = 200
_PAUSE_FACTOR = 2
# For so long after the last request there may be another one.
_BUSY_S = 1.0
# From the news of an event to the step: the events that come meanwhile are counted with it.
_GATHER_S = 0.02
_TRIM_EVERY_S = 60.0
# Intervals change rarely, and stay true for long.
_INTERVALS_S = 800 * 86_400.0
# Tries of a write that other replicas overtake.
_TRIES = 5


class ItemCounter:
    """`items` and `persons` bound the documents of a tenant. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        log: ProfileStore,
        counts: CountStore,
        items: int,
        persons: int,
        interval_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._log, self._counts, self._clock = log, counts, clock
        self._bounds = {kind: LogBound(COUNTS_S, items) for kind in CountKind} | {
            CountKind.FOLLOWED: LogBound(FOLLOWED_S, items),
            CountKind.FOLLOWED_TOTAL: LogBound(FOLLOWED_S, items),
            CountKind.PERSON: LogBound(PERSON_S, persons),
            CountKind.TREND: LogBound(TREND_S, items),
            CountKind.INTERVAL: LogBound(_INTERVALS_S, items),
        }
        self._tenants = {"default"}
        # By tenant: the position up to which this replica knows the log to be counted.
        self._counted: dict[str, int] = {}
        self._trimmed_s, self._requested_s = clock(), -math.inf
        self._work = Periodic("item-counter", self._turn, interval_s)

    @property
    def failures(self) -> int:
        return self._work.failures

    def follow(self, tenant: str) -> None:
        """From now on the tenant's log is counted."""
        self._tenants.add(tenant)

    def wake(self) -> None:
        """There are new events: they are counted within some hundredths of a second."""
        self._work.wake()

    def note_request(self) -> None:
        """A request has begun: the next steps leave it time."""
        self._requested_s = time.monotonic()

    def behind(self) -> int:
        """Positions of the log that are not yet counted: at least as many as events."""
        return sum(self._behind(tenant) for tenant in sorted(self._tenants))

    def count_some(self, tenant: str, step: int = STEP) -> bool:
        """Counts the next events of the log, at most `step`. Returns whether there may be more."""
        last, known = self._log.last_position(tenant), self._counts.progress(tenant)
        found = self._log.events_after(tenant, known.position, step)
        self._counted[tenant] = known.position if found else max(last, known.position)
        if not found:
            return False
        batch = CountBatch(tenant, self._log, self._counts)
        batch.count([event for _, event in found])
        # Another replica may have counted them meanwhile: then there is nothing to do but to go on.
        self._counts.write(tenant, known, found[-1][0], batch.documents(self._clock()))
        return True

    def merge(self, tenant: str, visitor: str, user: str) -> None:
        """What both persons have counted counts once from now on."""

        def joined(batch: CountBatch) -> None:
            batch.join(visitor, user)

        self._change(tenant, joined)

    def forget(self, tenant: str, persons: Sequence[str]) -> None:
        """Removes what is kept of persons, and takes it back from the counts over all persons."""
        self._change(tenant, lambda batch: batch.forget(persons))

    def close(self) -> None:
        self._work.close()

    def _change(self, tenant: str, work: Callable[[CountBatch], None]) -> None:
        """Applies a change that is not in the log. Batches that were read before it are refused and read again.

        Raises Unavailable if others were faster each time.
        """
        for _ in range(_TRIES):
            known, batch = self._counts.progress(tenant), CountBatch(tenant, self._log, self._counts)
            work(batch)
            if self._counts.write(tenant, known, known.position, batch.documents(self._clock())):
                return
            time.sleep(0.01)  # the others are a step ahead
        raise Unavailable("the ranker's counts are being written by other replicas; try again")

    def _turn(self, stop: threading.Event) -> float | None:
        stop.wait(_GATHER_S)
        for tenant in sorted(self._tenants):
            while not stop.is_set() and self._step_of(tenant, stop):
                pass
        now_s = self._clock()
        if now_s - self._trimmed_s >= _TRIM_EVERY_S:
            self._trimmed_s = now_s
            for tenant in sorted(self._tenants):
                for kind, bound in self._bounds.items():
                    self._counts.trim(tenant, kind, bound, now_s)
        return None

    def _step_of(self, tenant: str, stop: threading.Event) -> bool:
        """One step, and the wait after it. Returns whether there may be more."""
        began_s = time.monotonic()
        is_busy = began_s - self._requested_s < _BUSY_S
        more = self.count_some(tenant, STEP if is_busy else self._counts.most_events)
        if more and is_busy:
            stop.wait(_PAUSE_FACTOR * (time.monotonic() - began_s))
        return more

    def _behind(self, tenant: str) -> int:
        counted = self._counted.get(tenant)
        if counted is None:
            counted = self._counts.progress(tenant).position
        return max(0, self._log.last_position(tenant) - counted)
