"""Reads the log from the place where it stopped last, page by page, into the ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from services.common.gateway_log import PlaceLost
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.biller.ports import Log, ShopGateway
from services.sponsored.ports import Ledger, LogPlace

_log = structlog.get_logger("kairos.biller")


@dataclass(frozen=True)
class LogConsumer:
    gateway: ShopGateway
    ledger: Ledger
    tenant: str
    metrics: BillerMetrics

    def read_all(self, stop: threading.Event) -> bool:
        """Reads until nothing is left. Returns False if it was stopped before. Raises LogFailed."""
        unread = set(Log)
        while unread and not stop.is_set():
            log = self._behind(unread)
            if self.read(log):
                unread.remove(log)
        return not unread

    def read(self, log: Log) -> bool:
        """One page: its facts and the place behind it are stored together. Returns whether it was the last one.

        Raises LogFailed. The log is read from its start if the place is lost: facts that are known change nothing.
        """
        place = self.ledger.place(self.tenant, log.value)
        try:
            page = self.gateway.read(log, place.page_token)
        except PlaceLost as error:
            _log.warning("the place in the log is unknown; it is read from the start", log=log.value, error=str(error))
            self.metrics.restarts.inc()
            self.ledger.record(self.tenant, (), log.value, LogPlace())
            return False
        if page.page_token != place.page_token:
            read_up_to_s = place.read_up_to_s if page.read_up_to_s is None else page.read_up_to_s
            self.ledger.record(self.tenant, page.facts, log.value, LogPlace(page.page_token, read_up_to_s))
        self.metrics.unreadable.inc(page.unreadable)
        return page.is_last

    def _behind(self, unread: Iterable[Log]) -> Log:
        """The log whose last read record is older: clicks are read beside the ads that they answer."""
        return min(unread, key=lambda log: (self.ledger.place(self.tenant, log.value).read_up_to_s, log.value))
