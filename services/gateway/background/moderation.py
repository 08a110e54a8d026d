"""Moderation in a gateway: the outcome of a product by rules and by published decisions.

A decision that is published, or archived, changes the stored product within seconds, without an import: each gateway
compares and corrects, and what is right already is left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from kairos.common.v1 import event_pb2, product_pb2
from kairos.control.v1 import control_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import product_from_proto
from services.common.convert_moderation import moderated_to_proto
from services.common.errors import KairosError
from services.common.product import Product
from services.common.visibility import SEES_ALL, Moderated, Outcome
from services.gateway.background.reviews import ReviewQueue
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.domain.moderation.moderator import NOTHING_FOUND, Moderator, decided
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess
from services.gateway.steps import in_steps

# Products that are compared in one call; seconds for it, and before the next try.
_BATCH, _TIMEOUT_S, _PAUSE_S = 200, 10.0, 1.0
_TEXT, _TITLE = 2_000, 200
_STATES = {Outcome.BLOCK: "It is not shown until you decide.", Outcome.REVIEW: "It is shown until you decide."}

_log = structlog.get_logger("kairos.moderation")


@dataclass(frozen=True)
class Decision:
    """`categories`: those that a person saw; an approval holds for these alone."""

    review_id: str
    is_approved: bool
    categories: frozenset[str]

    def holds_for(self, moderated: Moderated) -> bool:
        return not self.is_approved or self.categories >= frozenset(moderated.categories)


# By product id, or the id of a shopper's review.
Decisions = Mapping[str, Sequence[Decision]]


class Moderation:
    """`moderator`: of all tenants."""

    def __init__(
        self, moderator: Moderator, stubs: StageStubs, access: StageAccess, reviews: ReviewQueue, supervisor: Supervisor
    ) -> None:
        self.moderator, self._stubs, self._access, self._reviews = moderator, stubs, access, reviews
        self._products: dict[str, Decisions] = {}
        self._pending: defaultdict[str, set[str]] = defaultdict(set)
        self._wake = asyncio.Event()
        supervisor.keep("moderation", self._apply_forever)

    def of_product(self, tenant: str, product: Product) -> Moderated:
        """By the rules, or by the decision that is published."""
        moderated = self.moderator.of_product(product)
        for decision in self._products.get(tenant, {}).get(product.id, ()):
            if decision.holds_for(moderated):
                return decided(moderated, decision.is_approved, decision.review_id)
        return moderated

    def ask(self, tenant: str, product: Product, moderated: Moderated) -> None:
        """Asks a person about a product that is stored, if the rules and nobody else have decided."""
        if moderated.worst is Outcome.PASS or moderated.review_id:
            return
        review = control_pb2.Review(
            question=f"{', '.join(moderated.categories)}: {product.title[:_TITLE]!r} has {moderated.evidence!r}. "
            + _STATES[moderated.outcome if moderated.outcome is not Outcome.PASS else Outcome.REVIEW],
            subject_id=product.id, subject=control_pb2.REVIEW_SUBJECT_PRODUCT, categories=moderated.categories,
            text="\n".join(filter(None, [product.title, product.description]))[:_TEXT],
        )  # fmt: skip
        self._reviews.ask(tenant, review_id(product.id, moderated.categories), review)

    def ask_about_review(self, tenant: str, event: event_pb2.Event, moderated: Moderated) -> None:
        """Asks a person about a shopper's review that does not count by itself."""
        text = event.feedback.text
        review = control_pb2.Review(
            question=f"{', '.join(moderated.categories)}: a review of {event.item_id!r} has {moderated.evidence!r}. "
            "It does not count until you decide.",
            subject_id=event.event_id, subject=control_pb2.REVIEW_SUBJECT_PRODUCT_REVIEW, text=text,
            categories=moderated.categories,
        )  # fmt: skip
        self._reviews.ask(tenant, review_id(event.event_id, moderated.categories), review)

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        found = decisions_of(snapshot, control_pb2.REVIEW_SUBJECT_PRODUCT)

        def use() -> None:
            before = self._products.get(snapshot.tenant, {})
            self._products[snapshot.tenant] = found
            changed = {id for id in before.keys() | found.keys() if before.get(id) != found.get(id)}
            if changed:
                self._pending[snapshot.tenant] |= changed
                self._wake.set()

        return use

    async def _apply_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not all([await self._apply_all(tenant, ids) for tenant, ids in list(self._pending.items())]):
                await asyncio.sleep(_PAUSE_S)
                self._wake.set()

    async def _apply_all(self, tenant: str, ids: set[str]) -> bool:
        """Takes the ids away. Whether none is left: a tenant whose calls fail does not hold up the others."""
        while ids:
            batch = list(ids)[:_BATCH]
            # First: what changes again meanwhile is applied again.
            ids.difference_update(batch)
            try:
                await self._apply(tenant, batch)
            except KairosError as error:
                ids.update(batch)
                _log.info("decisions are not applied yet", tenant=tenant, error=str(error))
                return False
        return True

    async def _apply(self, tenant: str, ids: Sequence[str]) -> None:
        """Raises KairosError. Unknown products are left out: their import will ask for the decision."""
        calls = self._access.for_background("moderation", tenant, _TIMEOUT_S, viewing=SEES_ALL)
        lookup = retrieval_pb2.LookupProductsRequest(ids=ids, with_products=True)
        found = await calls.call(Stage.RETRIEVAL, self._stubs.retrieval.LookupProducts, lookup)
        request = retrieval_pb2.SetModerationRequest()
        async for data in in_steps(found.candidates.products):
            message = product_pb2.Product.FromString(data)
            wanted = product_pb2.Product()
            write_moderation(wanted, self.of_product(tenant, product_from_proto(message, "product")))
            if (message.moderation, message.HasField("moderation")) != (
                wanted.moderation, wanted.HasField("moderation"),
            ):  # fmt: skip
                entry = request.products.add(id=message.id)
                if wanted.HasField("moderation"):
                    entry.moderation.CopyFrom(wanted.moderation)
        if request.products:
            await calls.call(Stage.RETRIEVAL, self._stubs.retrieval.SetModeration, request)
            _log.info("decisions applied", tenant=tenant, products=len(request.products))


def write_moderation(message: product_pb2.Product, moderated: Moderated) -> None:
    message.ClearField("moderation")
    if moderated != NOTHING_FOUND:
        message.moderation.CopyFrom(moderated_to_proto(moderated))


def review_id(subject_id: str, categories: Sequence[str]) -> str:
    """One review of each product and what was found about it."""
    digest = hashlib.blake2b("\0".join([subject_id, *categories]).encode(), digest_size=12).hexdigest()
    return f"moderation-{digest}"


def decisions_of(snapshot: control_pb2.Snapshot, subject: control_pb2.ReviewSubject.ValueType) -> Decisions:
    """By the id of the subject; rejections first."""
    found: defaultdict[str, list[Decision]] = defaultdict(list)
    for resource in snapshot.resources:
        if resource.HasField("review") and resource.review.subject == subject and resource.review.subject_id:
            is_approved = resource.review.decision == control_pb2.REVIEW_DECISION_APPROVED
            decision = Decision(resource.id, is_approved, frozenset(resource.review.categories))
            found[resource.review.subject_id].append(decision)
    return {id: sorted(its, key=lambda one: (one.is_approved, one.review_id)) for id, its in found.items()}
