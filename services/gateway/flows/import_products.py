"""ImportProducts: checks, encodes and stores a stream of products in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import product_from_proto, vectors_from_proto, vectors_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_ID, MAX_IMAGE_BYTES
from services.common.product import Product, violations
from services.common.visibility import EVERYONE, Moderated, Outcome
from services.gateway.background.moderation import write_moderation
from services.gateway.domain.budget import Stage
from services.gateway.domain.fingerprint import product_fingerprint
from services.gateway.flows.pictures import image_encoder_required
from services.gateway.parts import Parts
from services.gateway.request_info import current_request
from services.gateway.stage_calls import StageCalls
from services.gateway.steps import in_steps

MAX_PRODUCTS_PER_MESSAGE = 500
MAX_REJECTED_LISTED = 1_000
# Products that are encoded and stored together, and the number of such batches in flight.
_BATCH = 128
_BATCHES_IN_FLIGHT = 3
# A batch whose pictures have so many bytes is sent: with one more picture it still fits into a message.
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class _Accepted:
    """A valid product; `index` is its 0-based position in the stream."""

    index: int
    product: product_pb2.Product
    image: bytes
    fingerprint: bytes
    checked: Product
    moderated: Moderated

    @property
    def is_suggested(self) -> bool:
        """Whether everybody sees the product, so that its words may be suggested."""
        return self.moderated.visibility == EVERYONE


@dataclass
class Import:
    """One import stream and its summary."""

    # Each batch has a budget of its own: a stream may be long.
    new_calls: Callable[[], StageCalls]
    parts: Parts
    summary: gateway_pb2.ImportProductsResponse = field(default_factory=gateway_pb2.ImportProductsResponse)
    # Fingerprint by id, of this stream.
    _seen: dict[str, bytes] = field(default_factory=dict)

    async def run(self, messages: AsyncIterator[gateway_pb2.ImportProductsRequest]) -> None:
        """Batches overlap: one is encoded while another is stored."""
        running: set[asyncio.Task[None]] = set()
        batch: dict[str, _Accepted] = {}
        try:
            async for message in messages:
                async for accepted in self._accept(message):
                    batch[accepted.product.id] = accepted
                    if len(batch) == _BATCH or sum(len(entry.image) for entry in batch.values()) >= _BATCH_BYTES:
                        running.add(asyncio.create_task(self._store(batch)))
                        batch = {}
                    if len(running) >= _BATCHES_IN_FLIGHT:
                        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                        await asyncio.gather(*done)
            if batch:
                running.add(asyncio.create_task(self._store(batch)))
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    async def _accept(self, message: gateway_pb2.ImportProductsRequest) -> AsyncIterator[_Accepted]:
        """The valid products of a message; the others go to the summary."""
        if not 1 <= len(message.products) <= MAX_PRODUCTS_PER_MESSAGE:
            raise InvalidArgument.of(
                "products", f"holds {len(message.products)}; send 1 to {MAX_PRODUCTS_PER_MESSAGE} in a message"
            )
        if message.images and len(message.images) != len(message.products):
            raise InvalidArgument.of("images", f"holds {len(message.images)} for {len(message.products)} products")
        tenant = current_request.get().tenant
        images = list(message.images) or [b""] * len(message.products)
        async for product, image in in_steps(zip(message.products, images, strict=True)):
            index = self.summary.received_count
            self.summary.received_count += 1
            checked, wrong = _checked(product, image)
            if checked is None or wrong:
                self._reject(index, product.id, wrong[0])
                continue
            moderated = self.parts.moderation.of_product(tenant, checked)
            write_moderation(product, moderated)
            product.ClearField("reviews")
            fingerprint = product_fingerprint(product.SerializeToString(deterministic=True), image)
            known = self._seen.setdefault(product.id, fingerprint)
            if known is fingerprint:
                self._count_moderated(moderated)
                yield _Accepted(index, product, image, fingerprint, checked, moderated)
            elif known == fingerprint:
                self._count("unchanged")
            else:
                self._reject(index, product.id, FieldViolation("id", "came before with other content"))

    async def _store(self, batch: dict[str, _Accepted]) -> None:
        calls, stubs = self.new_calls(), self.parts.stubs
        lookup = retrieval_pb2.LookupProductsRequest(ids=list(batch))
        stored = await calls.call(Stage.RETRIEVAL, stubs.retrieval.LookupProducts, lookup)
        known = zip(stored.candidates.ids, stored.fingerprints, strict=True)
        unchanged = [batch.pop(id) for id, fingerprint in known if batch[id].fingerprint == fingerprint]
        if unchanged:
            # A lexicon that was lost, or whose update failed, has them again afterwards.
            await self._update_lexicon(calls, unchanged)
            self._ask(calls, unchanged)
            self._count("unchanged", len(unchanged))
        if not batch:
            return
        entries = list(batch.values())
        images = [entry.image for entry in entries] if any(entry.image for entry in entries) else None
        encode = encoder_pb2.EncodeProductsRequest(products=[entry.product for entry in entries], images=images)
        with image_encoder_required():
            encoded = await calls.call(Stage.QUERY_ENCODER, stubs.encoder.EncodeProducts, encode)
        for problem in encoded.image_problems:
            entry = entries[problem.index]
            self._reject(entry.index, entry.product.id, FieldViolation("image", problem.reason))
        bad = {problem.index for problem in encoded.image_problems}
        good = [row for row in range(len(entries)) if row not in bad]
        if not good:
            return
        upsert = retrieval_pb2.UpsertProductsRequest(
            products=[entries[row].product for row in good],
            vectors=_rows(encoded.vectors, good),
            fingerprints=[entries[row].fingerprint for row in good],
            image_vectors=_rows(encoded.image_vectors, good) if encoded.HasField("image_vectors") else None,
            other_vectors=[_rows(others, good) for others in encoded.other_vectors],
        )
        await calls.call(Stage.RETRIEVAL, stubs.retrieval.UpsertProducts, upsert)
        if hidden := [entries[row] for row in good if not entries[row].is_suggested]:
            # The encoder has learned their words with the others.
            await self._update_lexicon(calls, hidden)
        self._ask(calls, [entries[row] for row in good])
        self._count("imported", len(good))

    async def _update_lexicon(self, calls: StageCalls, entries: Sequence[_Accepted]) -> None:
        """Words of products that not everybody sees are no suggestions."""
        learn = encoder_pb2.UpdateLexiconRequest(
            products=[entry.product for entry in entries if entry.is_suggested],
            deleted_ids=[entry.product.id for entry in entries if not entry.is_suggested],
        )
        await calls.call(Stage.QUERY_ENCODER, self.parts.stubs.encoder.UpdateLexicon, learn)

    def _ask(self, calls: StageCalls, entries: Sequence[_Accepted]) -> None:
        for entry in entries:
            self.parts.moderation.ask(calls.info.tenant, entry.checked, entry.moderated)

    def _count_moderated(self, moderated: Moderated) -> None:
        outcome = moderated.worst
        for category in moderated.categories:
            self.parts.metrics.moderated_products.labels(category, outcome.name.lower()).inc()
        self.summary.blocked_count += outcome is Outcome.BLOCK
        self.summary.review_count += outcome is Outcome.REVIEW

    def _reject(self, index: int, id: str, wrong: FieldViolation) -> None:
        self._count("rejected")
        if len(self.summary.rejected) < MAX_REJECTED_LISTED:
            self.summary.rejected.add(index=index, id=id[:MAX_ID], field=wrong.field, reason=wrong.description)

    def _count(self, outcome: str, number: int = 1) -> None:
        name = f"{outcome}_count"
        setattr(self.summary, name, getattr(self.summary, name) + number)
        self.parts.metrics.imported_products.labels(outcome).inc(number)


def _rows(vectors: common_pb2.Vectors, rows: list[int]) -> common_pb2.Vectors:
    """Only these rows."""
    if len(rows) == vectors.values.shape[0]:
        return vectors
    return vectors_to_proto(vectors_from_proto(vectors, "vectors")[rows], vectors.model_version)


def _checked(product: product_pb2.Product, image: bytes) -> tuple[Product | None, list[FieldViolation]]:
    """(the product, what is wrong with it); None if it cannot be read."""
    if len(image) > MAX_IMAGE_BYTES:
        return None, [FieldViolation("image", f"has {len(image)} bytes; send at most {MAX_IMAGE_BYTES}")]
    try:
        checked = product_from_proto(product, "product")
    except InvalidArgument as error:
        return None, [FieldViolation(v.field.removeprefix("product."), v.description) for v in error.violations]
    return checked, violations(checked)
