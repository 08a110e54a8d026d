"""Reads the log from the place where it stopped last, page by page, into the demand store."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import structlog

from services.common.gateway_log import LogFailed, PlaceLost
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.learning.ports import Bounds, DemandLog, Log
from services.pricing.learning.sqlite_store import SqliteDemandStore

_LOGS = (Log.IMPRESSIONS, Log.EVENTS)

_log = structlog.get_logger("kairos.price_learning")


class DemandConsumer:
    """`upkeep_s`: seconds between two removals of what is old. `clock` gives seconds since the epoch."""

    def __init__(
        self, log: DemandLog, store: SqliteDemandStore, bounds: Bounds, metrics: LearningMetrics, upkeep_s: float,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._log, self._store, self._bounds, self._metrics = log, store, bounds, metrics
        self._upkeep_s, self._clock = upkeep_s, clock
        self._kept_at_s = -math.inf
        # Facts that were added since.
        self._added = 0

    def turn(self, stop: threading.Event) -> None:
        """Reads until nothing is left. For services/common/periodic.py."""
        began_s, unread = self._clock(), {*_LOGS, Log.CATALOGUE}
        try:
            while unread and not stop.is_set():
                unread -= {log for log in (Log.CATALOGUE, self._behind(unread)) if log in unread and self.read(log)}
                if self._added > self._bounds.impressions // 5:
                    self.keep(unread)
            if not unread:
                self._metrics.up_to_date.set(began_s)
            if self._clock() >= self._kept_at_s + self._upkeep_s:
                self.keep(unread)
        except LogFailed as error:
            self._metrics.failures.inc()
            _log.warning("the log was not read and is tried again", error=str(error))

    def read(self, log: Log) -> bool:
        """One page: its facts and the place behind it are stored together. Returns whether it was the last one.

        Raises LogFailed.
        """
        token, up_to_s = self._store.place(log)
        if log is Log.CATALOGUE:
            try:
                listed = self._log.catalogue(token)
            except PlaceLost:
                self._store.put_products([], "", is_restarted=True)
                raise
            self._store.put_products(
                listed.products, listed.page_token, is_restarted=listed.is_restarted, observed=listed.observed
            )
            return listed.is_last
        page = self._log.read(log, token)
        if page.page_token != token:
            read_up_to_s = up_to_s if page.read_up_to_s is None else page.read_up_to_s
            self._store.add(log, page.page_token, read_up_to_s, page.impressions, page.interactions)
            self._added += len(page.impressions) + len(page.interactions)
        return page.is_last

    def keep(self, unread: set[Log]) -> None:
        """Removes what is beyond the bounds. Of a log that is not read to its end, younger records are to come."""
        now_s = min([self._clock(), *(self._store.place(log)[1] for log in unread & set(_LOGS))])
        self._store.close_periods(self._bounds, now_s)
        self._metrics.report(self._store.size(), self._store.unjoined_share())
        self._kept_at_s, self._added = self._clock(), 0

    def _behind(self, unread: set[Log]) -> Log | None:
        """The log whose last read record is older: events are read beside the impressions that they answer."""
        left = [log for log in _LOGS if log in unread]
        return min(left, key=lambda log: self._store.place(log)[1], default=None)
