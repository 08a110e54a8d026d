"""The catalogue through the gateway: import, read, delete, quote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import product_from_proto, vectors_from_proto, vectors_to_proto
from services.common.errors import FieldViolation, InvalidArgument, NotFound
from services.common.product import violations
from services.gateway.domain.budget import Stage
from services.gateway.domain.fingerprint import product_fingerprint
from services.gateway.flow import Parts, quote
from services.gateway.metrics import Metrics
from services.gateway.stages import Request

MAX_PRODUCTS_PER_MESSAGE = 500
MAX_REJECTED_LISTED = 1_000
MAX_IDS = 1_000
MAX_QUOTES = 100
# Products that are encoded and stored together, and how many such batches are on their way at once.
_BATCH = 128
_BATCHES_IN_FLIGHT = 3
_MAX_IMAGE = 8 << 20
# Of a batch's pictures, beyond which it is sent: with one more picture it still fits into a message.
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class _Accepted:
    """A good product; `index` is its place in the stream."""

    index: int
    product: product_pb2.Product
    image: bytes
    fingerprint: bytes


@dataclass
class Import:
    """One import stream: what was received, and what became of it."""

    # A budget of its own for each batch: a stream may be long.
    new_request: Callable[[], Request]
    parts: Parts
    metrics: Metrics
    summary: gateway_pb2.ImportProductsResponse = field(default_factory=gateway_pb2.ImportProductsResponse)
    # Fingerprint by id, of this stream.
    _seen: dict[str, bytes] = field(default_factory=dict)

    async def run(self, messages: AsyncIterator[gateway_pb2.ImportProductsRequest]) -> None:
        """Batches overlap: one is encoded while another is stored."""
        running: set[asyncio.Task[None]] = set()
        batch: dict[str, _Accepted] = {}
        try:
            async for message in messages:
                for accepted in self._accept(message):
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

    def _accept(self, message: gateway_pb2.ImportProductsRequest) -> list[_Accepted]:
        """The message's good products; bad ones go to the summary."""
        if len(message.products) > MAX_PRODUCTS_PER_MESSAGE:
            raise InvalidArgument.of(
                "products", f"holds {len(message.products)}; send at most {MAX_PRODUCTS_PER_MESSAGE} in a message"
            )
        if message.images and len(message.images) != len(message.products):
            raise InvalidArgument.of("images", f"holds {len(message.images)} for {len(message.products)} products")
        accepted = []
        images = list(message.images) or [b""] * len(message.products)
        for product, image in zip(message.products, images, strict=True):
            index = self.summary.received_count
            self.summary.received_count += 1
            if wrong := _wrong(product, image):
                self._reject(index, product.id, wrong[0])
                continue
            fingerprint = product_fingerprint(product.SerializeToString(deterministic=True), image)
            known = self._seen.setdefault(product.id, fingerprint)
            if known is fingerprint:
                accepted.append(_Accepted(index, product, image, fingerprint))
            elif known == fingerprint:
                self._count("unchanged")
            else:
                self._reject(index, product.id, FieldViolation("id", "came before in this stream with other content"))
        return accepted

    async def _store(self, batch: dict[str, _Accepted]) -> None:
        request, clients = self.new_request(), self.parts.clients
        lookup = retrieval_pb2.LookupProductsRequest(ids=list(batch))
        stored = await request.call_stage(Stage.RETRIEVAL, clients.retrieval.LookupProducts, lookup)
        for id, fingerprint in zip(stored.candidates.ids, stored.fingerprints, strict=True):
            if batch[id].fingerprint == fingerprint:
                del batch[id]
                self._count("unchanged")
        if not batch:
            return
        entries = list(batch.values())
        images = [entry.image for entry in entries] if any(entry.image for entry in entries) else None
        encode = encoder_pb2.EncodeProductsRequest(products=[entry.product for entry in entries], images=images)
        encoded = await request.call_stage(Stage.QUERY_ENCODER, clients.encoder.EncodeProducts, encode)
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
        await request.call_stage(Stage.RETRIEVAL, clients.retrieval.UpsertProducts, upsert)
        self._count("imported", len(good))

    def _reject(self, index: int, id: str, wrong: FieldViolation) -> None:
        self._count("rejected")
        if len(self.summary.rejected) < MAX_REJECTED_LISTED:
            self.summary.rejected.add(index=index, id=id[:128], field=wrong.field, reason=wrong.description)

    def _count(self, outcome: str, number: int = 1) -> None:
        name = f"{outcome}_count"
        setattr(self.summary, name, getattr(self.summary, name) + number)
        self.metrics.imported_products.labels(outcome).inc(number)


def _rows(vectors: common_pb2.Vectors, rows: list[int]) -> common_pb2.Vectors:
    """Only these; the message itself where they are all."""
    if len(rows) == vectors.values.shape[0]:
        return vectors
    return vectors_to_proto(vectors_from_proto(vectors, "vectors")[rows], vectors.model_version)


def _wrong(product: product_pb2.Product, image: bytes) -> list[FieldViolation]:
    if len(image) > _MAX_IMAGE:
        return [FieldViolation("image", f"has {len(image)} bytes; at most {_MAX_IMAGE}")]
    try:
        return violations(product_from_proto(product, "product"))
    except InvalidArgument as error:
        return [FieldViolation(v.field.removeprefix("product."), v.description) for v in error.violations]


async def get_product(request: Request, parts: Parts, id: str) -> product_pb2.Product:
    if not id:
        raise InvalidArgument.of("id", "is empty; name a product")
    products, missing = await _lookup(request, parts, [id])
    if missing:
        raise NotFound(f"there is no product {id!r}")
    return products[0]


async def delete_products(request: Request, parts: Parts, ids: list[str]) -> gateway_pb2.DeleteProductsResponse:
    _check_ids("ids", ids, MAX_IDS)
    remove = retrieval_pb2.RemoveProductsRequest(ids=ids)
    answer = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.RemoveProducts, remove)
    return gateway_pb2.DeleteProductsResponse(deleted_count=answer.removed_count, missing_ids=answer.missing_ids)


async def quote_prices(
    request: Request, parts: Parts, message: gateway_pb2.QuotePricesRequest
) -> gateway_pb2.QuotePricesResponse:
    ids = list(dict.fromkeys(message.product_ids))
    _check_ids("product_ids", ids, MAX_QUOTES)
    products, missing = await _lookup(request, parts, ids)
    wanted = message.currency_code
    for product in products:
        if wanted and product.HasField("price") and product.price.currency_code != wanted:
            raise InvalidArgument.of(
                "currency_code", f"is {wanted!r}, but {product.id!r} is priced in {product.price.currency_code}"
            )
    quotes = await quote(request, parts, products)
    return gateway_pb2.QuotePricesResponse(
        quotes=[quotes[product.id] for product in products if product.id in quotes],
        missing_ids=missing,
        unpriced_ids=[product.id for product in products if product.id not in quotes],
        degradations=request.degradations,
        request_id=request.call.request_id,
    )


async def _lookup(request: Request, parts: Parts, ids: list[str]) -> tuple[list[product_pb2.Product], list[str]]:
    lookup = retrieval_pb2.LookupProductsRequest(ids=ids, with_products=True)
    answer = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.LookupProducts, lookup, [Stage.PRICING])
    return [product_pb2.Product.FromString(data) for data in answer.candidates.products], list(answer.missing_ids)


def _check_ids(field: str, ids: list[str], limit: int) -> None:
    if not 1 <= len(ids) <= limit:
        raise InvalidArgument.of(field, f"holds {len(ids)}; send 1 to {limit}")
    for index, id in enumerate(ids):
        if not 1 <= len(id) <= 128:
            raise InvalidArgument.of(f"{field}[{index}]", f"has {len(id)} characters; 1 to 128")
