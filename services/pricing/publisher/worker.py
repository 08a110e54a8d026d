"""The publisher's work: from changes of products and offers, and from the clock, to published prices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import structlog

from services.common.errors import KairosError
from services.pricing.domain.competitors import COMPETITOR_DAYS
from services.pricing.domain.offered_product import OfferedProduct
from services.pricing.domain.policy_set import PolicySet
from services.pricing.domain.publication import KnownProduct, Look, look_at
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.ports import (
    DecisionRecord,
    GatewayFailed,
    PageTokenRefused,
    PublisherState,
    Reviews,
    ReviewsFailed,
    ShopGateway,
    Worked,
)

# Products of one step whose time has come.
_MOST_DUE = 200
# The longest pause after failures, in seconds.
_MAX_BACKOFF_S = 30.0
# Reviews that wait for a decision: control keeps 5,000, decided ones too. And the pause after one that it did not take.
_MOST_WAITING = 1_000
_ASK_AGAIN_S = 60.0

_log = structlog.get_logger("kairos.price_publisher")


class PricePublisher:
    """`policies` gives those in use. `clock` gives seconds since the epoch. Without `reviews` a change that a person
    must decide about does not take place. Without a `record` nobody can explain a price later. `competitor_days`: see
    publication.look_at.
    """

    def __init__(
        self, gateway: ShopGateway, state: PublisherState, policies: Callable[[], PolicySet],
        metrics: PublisherMetrics, clock: Callable[[], float], reviews: Reviews | None = None,
        record: DecisionRecord | None = None, competitor_days: float = COMPETITOR_DAYS,
    ) -> None:  # fmt: skip
        self._reviews, self._record, self._competitor_days = reviews, record, competitor_days
        self._gateway, self._state, self._policies = gateway, state, policies
        self._metrics, self._clock = metrics, clock

    def step(self) -> bool:
        """Works on one page of changes, and on some products whose time has come. Returns whether nothing is left.

        While computed prices are switched off, nothing is read or published. A step that fails is repeated whole:
        publishing the same price again changes nothing. Raises GatewayFailed, and KairosError of the record.
        """
        began_s, policies = self._clock(), self._policies()
        self._metrics.list_price_only.set(policies.is_list_price_only)
        if policies.is_list_price_only:
            self._metrics.up_to_date.set(began_s)
            return True
        self._state.follow(policies.version)
        try:
            page = self._gateway.changes(self._state.page_token())
        except PageTokenRefused:
            self._state.restart()
            raise
        known = self._state.known([product.product_id for product in page.products])
        seen = [(product, known.get(product.product_id)) for product in page.products]
        worked = self._work(seen, policies)
        self._state.save(
            replace(worked, page_token=page.next_token, is_restarted=page.is_restarted, is_last_page=page.is_last)
        )
        self._follow_decisions(policies)
        due = self._state.due(self._clock(), _MOST_DUE)
        if due:
            self._state.save(self._work([(each.product, each) for each in due], policies))
        self._metrics.upcoming.set(self._state.upcoming_count())
        self._metrics.waiting_reviews.set(self._state.waiting_count())
        is_done = page.is_last and len(due) < _MOST_DUE
        if is_done:
            self._metrics.up_to_date.set(began_s)
        return is_done

    def _follow_decisions(self, policies: PolicySet) -> None:
        """Looks at the products of which a person has decided."""
        decided = self._reviews.decided() if self._reviews else {}
        if decided and self._state.waiting_count():
            ids = sorted(decided)
            for first in range(0, len(ids), _MOST_DUE):
                if found := self._state.waiting(ids[first : first + _MOST_DUE]):
                    self._state.save(self._work([(each.product, each) for each in found], policies))

    def _work(self, products: Sequence[tuple[OfferedProduct, KnownProduct | None]], policies: PolicySet) -> Worked:
        now_s, gone_ids = self._clock(), set[str]()
        month = f"{datetime.fromtimestamp(now_s, UTC):%Y-%m}"
        before, spent = self._state.spent(month), dict[str, Decimal]()
        looks, decided = list[Look](), self._reviews.decided() if self._reviews else {}
        room = _MOST_WAITING - self._state.waiting_count()
        for product, known in products:
            policy = policies.of(product.category_path)
            budget = policy.rails.discount_budget
            is_spent = budget is not None and before.get(policy.id, 0) >= budget.amount
            look = look_at(product, known, policy, now_s, is_spent, decided, self._competitor_days)
            if look.asked:
                look = self._asked(look, now_s, room)
                room -= len(look.asked)
            looks.append(look)
            if budget is not None and look.spent is not None and look.spent.currency == budget.currency:
                spent[policy.id] = spent.get(policy.id, Decimal(0)) + look.spent.amount
        changes = [change for look in looks for change in look.changes]
        decisions = [decision for look in looks for decision in look.decisions]
        if decisions and self._record is not None:
            # Before they are published: no price without the reason for it, whenever this process is killed.
            self._record.record(decisions)
        if changes:
            published = self._gateway.publish(changes)
            gone_ids.update(published.missing_ids)
            self._metrics.count(changes, published)
        self._metrics.decided(decisions)
        self._metrics.price_wars.inc(sum(look.ended_wars for look in looks))
        kept = [(look.known, look.due_s) for look in looks if look.known.product.product_id not in gone_ids]
        return Worked(kept, sorted(gone_ids), spent, month)

    def _asked(self, look: Look, now_s: float, room: int) -> Look:
        """The look with its reviews in control; otherwise as if nothing was decided, to be repeated in a minute."""
        try:
            if self._reviews is None:
                raise ReviewsFailed("no control is configured; set KAIROS_PRICE_PUBLISHER_CONTROL__TARGET")
            if len(look.asked) > room:
                raise ReviewsFailed(f"{_MOST_WAITING} changes wait for a decision; decide about some of them")
            for review in look.asked:
                self._reviews.ask(review)
        except ReviewsFailed as error:
            self._metrics.review_failures.inc()
            _log.warning(
                "a change of a price cannot be reviewed", product_id=look.asked[0].product_id, error=str(error)
            )
            asked_ids = {review.review_id for review in look.asked}
            records = {
                list_id: replace(record, waiting=None, period=None)
                if record.waiting and record.waiting.review_id in asked_ids
                else record
                for list_id, record in look.known.records.items()
            }
            known = replace(look.known, records=records)
            return replace(look, known=known, due_s=min(look.due_s, now_s + _ASK_AGAIN_S), asked=())
        return look


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
                exc_info=not isinstance(error, GatewayFailed | KairosError),
            )  # fmt: skip
