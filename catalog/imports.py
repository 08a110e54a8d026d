"""Imports files through the gateway. Rejected rows are written to a file; accepted rows are acknowledged in batches."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

import grpc
from tqdm import tqdm

from catalog.dropped import Dropped
from catalog.events import event_of
from catalog.mapping import ProductMapping
from catalog.price_check import PriceCheck
from catalog.removal import Removal
from catalog.retries import attempts
from catalog.rows import Row, RowRefused, read_rows
from catalog.sales import offer_of
from kairos.common.v1 import event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection, field_violations
from services.common.events import event_violations
from services.common.limits import MAX_IMAGE_BYTES

# Products of one stream, after which the gateway acknowledges them, and of one message.
_STREAM = 2_000
_MESSAGE = 200
# A message is sent when it has so many bytes or fields. The gateway accepts 16 MiB and 40,000 fields.
_MESSAGE_BYTES = 4 << 20
_MESSAGE_FIELDS = 20_000
# Offers and events of one message.
_OFFERS = 1_000
_EVENTS = 500
# Of `kairos user export`, beside events.
_OTHER_RECORDS = frozenset({"profile", "attribute", "impressions", "ranking"})
_TIMEOUT_S = 600.0


@dataclass
class Summary:
    """Numbers of rows: read, and what became of them. `skipped`: records of an export that are no events, and products
    that the shop hides.
    """

    read: int = 0
    imported: int = 0
    unchanged: int = 0
    duplicates: int = 0
    rejected: int = 0
    skipped: int = 0

    @property
    def accepted(self) -> int:
        return self.imported + self.unchanged + self.duplicates


@dataclass
class CatalogSummary(Summary):
    """`valid`: products, each id once. `dropped_values`: of fields that were left out. `sales`: offers with a sale that
    were published. `deleted`: products that a complete feed lacks.
    """

    valid: int = 0
    dropped_values: int = 0
    sales: int = 0
    deleted: int = 0


@dataclass
class Rejects:
    """The file of rejected rows. It is created with the first of them."""

    path: Path
    count: int = 0
    _file: IO[str] | None = None

    def add(self, row: Row, wrong_field: str, reason: str) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        entry = {"line": row.line, "field": wrong_field, "reason": reason, "row": row.raw}
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.count += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass
class CatalogImport:
    """Imports products with their images."""

    connection: Connection
    mapping: ProductMapping
    rejects: Rejects
    summary: CatalogSummary = field(default_factory=CatalogSummary)
    dropped: Dropped = field(default_factory=Dropped)
    # Folder that image_uri is relative to. None: no images are sent.
    images: Path | None = None
    missing_images: int = 0
    # Publishes the sales of the file as offers.
    has_sales: bool = False
    # For a complete feed. None: products that the file lacks stay.
    removal: Removal | None = None
    # Compares the prices with each other. None: they are not compared.
    prices: PriceCheck | None = None
    # Reads and checks all rows, and changes nothing.
    is_dry_run: bool = False
    # By id: the line on which it occurred first, and a digest of the product.
    _seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    # Of rows that were rejected before they became products.
    _rejected_ids: set[str] = field(default_factory=set)
    # Of the offers.
    _began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(self, path: Path, quiet: bool = False) -> CatalogSummary:
        """Raises grpc.RpcError if the gateway refuses a stream, and RemovalRefused after the import if too many
        products would be deleted. Products that the gateway acknowledged before stay imported.
        """
        rows, verb = self._good_rows(path), "Checking" if self.is_dry_run else "Importing"
        with self.connection.stub() as stub, tqdm(unit=" products", disable=quiet, desc=verb) as bar:
            if self.removal is not None:
                self.removal.read_catalogue(stub, self.connection)
            while batch := list(islice(rows, _STREAM)):
                if not self.is_dry_run:
                    self._send(stub, [(row, product) for row, product, _ in batch])
                    self._publish(stub, [offer for _, _, offer in batch if offer is not None])
                bar.update(len(batch))
                bar.set_postfix(imported=self.summary.imported, rejected=self.rejects.count)
            if self.prices is not None:
                self.prices.read_shop(stub, self.connection)
            self.rejects.close()
            self.summary.rejected, self.summary.dropped_values = self.rejects.count, self.dropped.count
            if self.removal is not None:
                self._remove(stub, self.removal)
        return self.summary

    def _good_rows(self, path: Path) -> Iterator[tuple[Row, product_pb2.Product, offer_pb2.Offer | None]]:
        for row in read_rows(path):
            self.summary.read += 1
            if row.problem:
                self.rejects.add(row, "row", row.problem)
                continue
            if row.is_hidden:
                self.summary.skipped += 1
                continue
            dropped: list[tuple[str, str]] = []
            warn = partial(_note, dropped)
            try:
                product = self.mapping.product(row.values, warn)
            except RowRefused as refused:
                self.rejects.add(row, refused.field, refused.reason)
                self._rejected_ids.add(self.mapping.id_of(row.values))
                continue
            digest = hashlib.blake2b(product.SerializeToString(deterministic=True), digest_size=8).digest()
            is_new = product.id not in self._seen
            first_line, known = self._seen.setdefault(product.id, (row.line, digest))
            if is_new:
                self.summary.valid += 1
                if self.prices is not None:
                    self.prices.add(row.line, product)
                offer = offer_of(self.mapping, row.values, product, self._began, warn) if self.has_sales else None
                for name, reason in dropped:
                    self.dropped.add(row.line, name, reason)
                yield row, product, offer
            elif known == digest:
                self.summary.duplicates += 1
            else:
                self.rejects.add(
                    row, "id", f"duplicate id {product.id!r}, first on line {first_line}; keep one of them"
                )

    def _remove(self, stub: gateway_pb2_grpc.GatewayServiceStub, removal: Removal) -> None:
        removal.plan(self._seen.keys() | self._rejected_ids, self.summary.rejected, self.summary.read)
        if not self.is_dry_run:
            removal.delete(stub, self.connection)
            self.summary.deleted = removal.deleted

    def _send(self, stub: gateway_pb2_grpc.GatewayServiceStub, batch: list[tuple[Row, product_pb2.Product]]) -> None:
        # The gateway recognises products that it has stored already by their fingerprints.
        for attempt in attempts():
            with attempt:
                answer = stub.ImportProducts(
                    self._messages(batch), timeout=_TIMEOUT_S, metadata=self.connection.metadata
                )
        self.summary.imported += answer.imported_count
        self.summary.unchanged += answer.unchanged_count
        for rejected in answer.rejected:
            self.rejects.add(batch[rejected.index][0], rejected.field, rejected.reason)

    def _publish(self, stub: gateway_pb2_grpc.GatewayServiceStub, offers: list[offer_pb2.Offer]) -> None:
        if not offers:
            return
        # Offers that arrive twice lead to the same state.
        for attempt in attempts():
            with attempt:
                messages = (
                    gateway_pb2.UpdateOffersRequest(offers=offers[start : start + _OFFERS])
                    for start in range(0, len(offers), _OFFERS)
                )
                answer = stub.UpdateOffers(messages, timeout=_TIMEOUT_S, metadata=self.connection.metadata)
        self.summary.sales += sum(not offer.is_removed for offer in offers)
        for rejected in answer.rejected:
            line = self._seen[offers[rejected.index].product_id][0]
            self.summary.sales -= not offers[rejected.index].is_removed
            self.dropped.add(line, rejected.field, f"refused as an offer: {rejected.reason}")

    def _messages(self, batch: list[tuple[Row, product_pb2.Product]]) -> Iterator[gateway_pb2.ImportProductsRequest]:
        return import_messages((product, self._image(product.image_uri)) for _, product in batch)

    def _image(self, uri: str) -> bytes:
        """The bytes of the image; empty if there is none. A path that leads out of the folder counts as missing."""
        if self.images is None or not uri:
            return b""
        folder = self.images.resolve()
        path = (folder / uri).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            self.missing_images += 1
            return b""
        if path.stat().st_size > MAX_IMAGE_BYTES:
            # One byte beyond the limit is enough for the gateway to refuse the image.
            with path.open("rb") as file:
                return file.read(MAX_IMAGE_BYTES + 1)
        return path.read_bytes()


def import_messages(
    products: Iterable[tuple[product_pb2.Product, bytes]],
) -> Iterator[gateway_pb2.ImportProductsRequest]:
    """Products, each with the bytes of its image, in messages within the gateway's limits."""
    message, size, fields = gateway_pb2.ImportProductsRequest(), 0, 0
    for product, image in products:
        message.products.append(product)
        message.images.append(image)
        size += len(image) + product.ByteSize()
        fields += _fields(product)
        if len(message.products) == _MESSAGE or size >= _MESSAGE_BYTES or fields >= _MESSAGE_FIELDS:
            yield _without_empty_images(message)
            message, size, fields = gateway_pb2.ImportProductsRequest(), 0, 0
    if message.products:
        yield _without_empty_images(message)


def _note(dropped: list[tuple[str, str]], name: str, reason: str) -> None:
    dropped.append((name, reason))


def _fields(product: product_pb2.Product) -> int:
    """At least the number of fields of a product, each value of an attribute counted."""
    return 80 + sum(3 + len(entry.values) for entry in product.attributes.values())


def _without_empty_images(message: gateway_pb2.ImportProductsRequest) -> gateway_pb2.ImportProductsRequest:
    """Removes the images if all of them are empty."""
    if not any(message.images):
        message.ClearField("images")
    return message


@dataclass
class EventsImport:
    """Imports events: rows of an event log, or of an export of users."""

    connection: Connection
    rejects: Rejects
    summary: Summary = field(default_factory=Summary)

    def run(self, path: Path, quiet: bool = False) -> Summary:
        """Raises grpc.RpcError if the gateway refuses a message as a whole."""
        rows = self._good_rows(path)
        with self.connection.stub() as stub, tqdm(unit=" events", disable=quiet, desc="Recording") as bar:
            while batch := list(islice(rows, _EVENTS)):
                self._send(stub, batch)
                bar.update(len(batch))
        self.rejects.close()
        self.summary.rejected = self.rejects.count
        return self.summary

    def _good_rows(self, path: Path) -> Iterator[tuple[Row, event_pb2.Event]]:
        for row in read_rows(path):
            self.summary.read += 1
            if row.problem:
                self.rejects.add(row, "row", row.problem)
                continue
            if row.values.get("record", "event") in _OTHER_RECORDS:
                self.summary.skipped += 1
                continue
            try:
                event = event_of(row.values)
            except RowRefused as refused:
                self.rejects.add(row, refused.field, refused.reason)
                continue
            wrong = event_violations(event, "event", time.time())
            if wrong:
                self.rejects.add(row, wrong[0].field.removeprefix("event."), wrong[0].description)
            else:
                yield row, event

    def _send(self, stub: gateway_pb2_grpc.GatewayServiceStub, batch: list[tuple[Row, event_pb2.Event]]) -> None:
        while batch:
            message = gateway_pb2.RecordEventsRequest(events=[event for _, event in batch])
            try:
                for attempt in attempts():
                    with attempt:
                        answer = stub.RecordEvents(message, timeout=_TIMEOUT_S, metadata=self.connection.metadata)
            except grpc.RpcError as error:
                # All events are invalid. The refusal names as many of them as it has room for.
                wrong = _wrong_events(error, len(batch))
                if not wrong:
                    raise
                for index, (field_name, reason) in sorted(wrong.items()):
                    self.rejects.add(batch[index][0], field_name, reason)
                batch = [entry for index, entry in enumerate(batch) if index not in wrong]
            else:
                self.summary.imported += answer.recorded_count
                self.summary.duplicates += answer.duplicate_count
                for rejected in answer.rejected:
                    self.rejects.add(batch[rejected.index][0], rejected.field, rejected.reason)
                return


def _wrong_events(error: grpc.RpcError, count: int) -> dict[int, tuple[str, str]]:
    """(field, reason) of each event that a refusal names, by its index in the message."""
    wrong: dict[int, tuple[str, str]] = {}
    for path, reason in field_violations(error):
        match = re.fullmatch(r"events\[(\d{1,6})\]\.?(.*)", path)
        if match and int(match[1]) < count:
            wrong.setdefault(int(match[1]), (match[2] or "row", reason))
    return wrong
