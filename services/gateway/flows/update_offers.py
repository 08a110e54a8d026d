"""UpdateOffers: checks and stores a stream of offers in batches."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from kairos.common.v1 import offer_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert_offers import offer_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_ID
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls
from services.gateway.steps import in_steps

MAX_OFFERS_PER_MESSAGE = 1_000
MAX_LISTED = 1_000
# Offers that are stored together.
_BATCH = 1_000
_PATH = re.compile(r"offers\[(\d{1,4})\]\.(.+)")

# 0-based position in the stream, and the offer.
Entry = tuple[int, offer_pb2.Offer]


@dataclass
class OfferStream:
    """One stream of offers and its summary."""

    # Each batch has a budget of its own: a stream may be long.
    new_calls: Callable[[], StageCalls]
    parts: Parts
    summary: gateway_pb2.UpdateOffersResponse = field(default_factory=gateway_pb2.UpdateOffersResponse)
    _missing_ids: set[str] = field(default_factory=set)

    async def run(self, messages: AsyncIterator[gateway_pb2.UpdateOffersRequest]) -> None:
        """A batch is received and checked while the one before it is stored. Batches are stored in their order: offers
        that remove a price list make room for those of another one.
        """
        storing: asyncio.Task[None] | None = None
        batch: list[Entry] = []
        try:
            async for message in messages:
                async for entry in self._accept(message):
                    batch.append(entry)
                    if len(batch) == _BATCH:
                        if storing is not None:
                            await storing
                        storing = asyncio.create_task(self._store(batch))
                        batch = []
            if storing is not None:
                await storing
            if batch:
                await self._store(batch)
        finally:
            if storing is not None:
                storing.cancel()

    async def _accept(self, message: gateway_pb2.UpdateOffersRequest) -> AsyncIterator[Entry]:
        """The valid offers of a message; the others go to the summary."""
        if not 1 <= len(message.offers) <= MAX_OFFERS_PER_MESSAGE:
            raise InvalidArgument.of(
                "offers", f"holds {len(message.offers)}; send 1 to {MAX_OFFERS_PER_MESSAGE} in a message"
            )
        now_s = time.time()
        async for offer in in_steps(message.offers):
            index = self.summary.received_count
            self.summary.received_count += 1
            try:
                offer_from_proto(offer, now_s)
            except InvalidArgument as error:
                self._reject((index, offer), error.violations[0])
            else:
                yield index, offer

    async def _store(self, batch: list[Entry]) -> None:
        """Retrieval takes a batch whole or not at all: what it refuses is rejected, and the others are sent again."""
        while batch:
            request = retrieval_pb2.UpdateOffersRequest(offers=[offer for _, offer in batch])
            try:
                stored = await self.new_calls().call(Stage.RETRIEVAL, self.parts.stubs.retrieval.UpdateOffers, request)
            except InvalidArgument as error:
                wrong = _wrong_offers(error.violations, len(batch))
                if not wrong:
                    raise
                for place, violation in wrong.items():
                    self._reject(batch[place], violation)
                batch = [entry for place, entry in enumerate(batch) if place not in wrong]
            else:
                self._count_stored(batch, stored)
                return

    def _count_stored(self, batch: Sequence[Entry], stored: retrieval_pb2.UpdateOffersResponse) -> None:
        self._count("updated", stored.updated_count)
        self._count("stale", stored.stale_count)
        missing = frozenset(stored.missing_ids)
        self._count("missing", sum(offer.product_id in missing for _, offer in batch))
        for id in stored.missing_ids:
            if len(self.summary.missing_ids) < MAX_LISTED and id not in self._missing_ids:
                self._missing_ids.add(id)
                self.summary.missing_ids.append(id)

    def _reject(self, entry: Entry, wrong: FieldViolation) -> None:
        self._count("rejected", 1)
        index, offer = entry
        if len(self.summary.rejected) < MAX_LISTED:
            self.summary.rejected.add(
                index=index, product_id=offer.product_id[:MAX_ID], field=wrong.field, reason=wrong.description
            )

    def _count(self, outcome: str, number: int) -> None:
        name = f"{outcome}_count"
        setattr(self.summary, name, getattr(self.summary, name) + number)
        self.parts.metrics.offer_updates.labels(outcome).inc(number)


def _wrong_offers(violations: Sequence[FieldViolation], count: int) -> dict[int, FieldViolation]:
    """The first violation of each offer that a refusal names, by its place in the batch."""
    wrong: dict[int, FieldViolation] = {}
    for violation in violations:
        match = _PATH.fullmatch(violation.field)
        if match and int(match[1]) < count:
            wrong.setdefault(int(match[1]), FieldViolation(match[2], violation.description))
    return wrong
