"""The publisher's work: from changes of products and offers, and from the clock, to published prices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.pricing import Pricer
from services.pricing.domain.publication import OfferedProduct, next_change_s, price_changes
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.ports import GatewayFailed, PageTokenRefused, PublisherState, Schedule, ShopGateway

# Products of one step whose time has come.
_MOST_DUE = 200
# The longest pause after failures, in seconds.
_MAX_BACKOFF_S = 30.0

_log = structlog.get_logger("kairos.price_publisher")


class PricePublisher:
    """`clock` gives seconds since the epoch."""

    def __init__(
        self, gateway: ShopGateway, state: PublisherState, pricer: Pricer, rails: Guardrails,
        metrics: PublisherMetrics, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._gateway, self._state, self._metrics, self._clock = gateway, state, metrics, clock
        self._pricer, self._rails = pricer, rails

    def step(self) -> bool:
        """Works on one page of changes, and on some products whose time has come. Returns whether nothing is left.

        A step that fails is repeated whole: publishing the same price again changes nothing. Raises GatewayFailed.
        """
        began_s = self._clock()
        try:
            page = self._gateway.changes(self._state.page_token())
        except PageTokenRefused:
            self._state.restart()
            raise
        self._state.save(self._publish(page.products), page.next_token, is_restarted=page.is_restarted)
        due = self._state.due(self._clock(), _MOST_DUE)
        if due:
            self._state.save(self._publish(due))
        self._metrics.upcoming.set(self._state.upcoming_count())
        is_done = page.is_last and len(due) < _MOST_DUE
        if is_done:
            self._metrics.up_to_date.set(began_s)
        return is_done

    def _publish(self, products: Sequence[OfferedProduct]) -> Schedule:
        now_s, gone_ids = self._clock(), list[str]()
        changes = [
            change for product in products for change in price_changes(product, self._pricer, self._rails, now_s)
        ]
        if changes:
            published = self._gateway.publish(changes)
            gone_ids.extend(published.missing_ids)
            self._metrics.count(changes, published)
        left = [product for product in products if product.product_id not in gone_ids]
        return Schedule([(product, next_change_s(product, self._pricer, now_s)) for product in left], gone_ids)


def run(publisher: PricePublisher, metrics: PublisherMetrics, poll_s: float, stop: threading.Event) -> None:
    """Until `stop`: a step after the other while there is work, then one every `poll_s` seconds.

    After failures in a row the pauses double, up to half a minute, or are as long as the gateway asks for.
    """
    pause_s, failures = 0.0, 0
    while not stop.wait(pause_s):
        try:
            pause_s, failures = poll_s if publisher.step() else 0.0, 0
        except Exception as error:
            failures += 1
            metrics.failures.inc()
            asked_s = error.retry_after_s if isinstance(error, GatewayFailed) else 0.0
            pause_s = max(min(poll_s * 2**failures, _MAX_BACKOFF_S), asked_s)
            _log.warning(
                "the step failed and is repeated", error=str(error), in_s=pause_s,
                exc_info=not isinstance(error, GatewayFailed),
            )  # fmt: skip
