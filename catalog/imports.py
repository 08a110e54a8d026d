"""Imports files through the gateway. Rejected rows are written to a file; accepted rows are acknowledged in batches."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import grpc
import stamina
from tqdm import tqdm

from catalog.events import event_of
from catalog.mapping import ProductMapping
from catalog.rows import Row, RowRefused, read_rows
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection, field_violations, reason_of, retry_after_s
from services.common.errors import BudgetExpired
from services.common.events import event_violations
from services.common.limits import MAX_IMAGE_BYTES

# Products of one stream, after which the gateway acknowledges them, and of one message.
_STREAM = 2_000
_MESSAGE = 200
# A message is sent when it has so many bytes or fields. The gateway accepts 16 MiB and 40,000 fields.
_MESSAGE_BYTES = 4 << 20
_MESSAGE_FIELDS = 20_000
# Events of one message.
_EVENTS = 500
# Of `kairos user export`, beside events.
_OTHER_RECORDS = frozenset({"profile", "impressions", "ranking"})
_TIMEOUT_S = 600.0
_ATTEMPTS = 8
_MAX_PAUSE_S = 60.0


@dataclass
class Summary:
    """Numbers of rows: read, and what became of them. `skipped`: records of an export that are no events."""

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
    summary: Summary = field(default_factory=Summary)
    # Folder that image_uri is relative to. None: no images are sent.
    images: Path | None = None
    missing_images: int = 0
    # By id: the line on which it occurred first, and a digest of the product.
    _seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def run(self, path: Path, quiet: bool = False) -> Summary:
        """Raises grpc.RpcError if the gateway refuses a stream. Products that it acknowledged before stay imported."""
        rows = self._good_rows(path)
        with self.connection.stub() as stub, tqdm(unit=" products", disable=quiet, desc="Importing") as bar:
            while batch := list(islice(rows, _STREAM)):
                self._send(stub, batch)
                bar.update(len(batch))
                bar.set_postfix(imported=self.summary.imported, rejected=self.rejects.count)
        self.rejects.close()
        self.summary.rejected = self.rejects.count
        return self.summary

    def _good_rows(self, path: Path) -> Iterator[tuple[Row, product_pb2.Product]]:
        for row in read_rows(path):
            self.summary.read += 1
            if row.problem:
                self.rejects.add(row, "row", row.problem)
                continue
            try:
                product = self.mapping.product(row.values)
            except RowRefused as refused:
                self.rejects.add(row, refused.field, refused.reason)
                continue
            digest = hashlib.blake2b(product.SerializeToString(deterministic=True), digest_size=8).digest()
            first_line, known = self._seen.setdefault(product.id, (row.line, digest))
            if first_line == row.line:
                yield row, product
            elif known == digest:
                self.summary.duplicates += 1
            else:
                self.rejects.add(
                    row, "id", f"duplicate id {product.id!r}, first on line {first_line}; keep one of them"
                )

    def _send(self, stub: gateway_pb2_grpc.GatewayServiceStub, batch: list[tuple[Row, product_pb2.Product]]) -> None:
        # The gateway recognises products that it has stored already by their fingerprints.
        for attempt in _attempts():
            with attempt:
                answer = stub.ImportProducts(
                    self._messages(batch), timeout=_TIMEOUT_S, metadata=self.connection.metadata
                )
        self.summary.imported += answer.imported_count
        self.summary.unchanged += answer.unchanged_count
        for rejected in answer.rejected:
            self.rejects.add(batch[rejected.index][0], rejected.field, rejected.reason)

    def _messages(self, batch: list[tuple[Row, product_pb2.Product]]) -> Iterator[gateway_pb2.ImportProductsRequest]:
        message, size, fields = gateway_pb2.ImportProductsRequest(), 0, 0
        for _, product in batch:
            image = self._image(product.image_uri)
            message.products.append(product)
            message.images.append(image)
            size += len(image) + product.ByteSize()
            fields += _fields(product)
            if len(message.products) == _MESSAGE or size >= _MESSAGE_BYTES or fields >= _MESSAGE_FIELDS:
                yield _without_empty_images(message)
                message, size, fields = gateway_pb2.ImportProductsRequest(), 0, 0
        if message.products:
            yield _without_empty_images(message)

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
                for attempt in _attempts():
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


def _attempts() -> Iterator[stamina.Attempt]:
    """A gateway that is busy or unavailable for a short time, or a late stage, does not end the import."""
    return iter(stamina.retry_context(on=_pause, attempts=_ATTEMPTS, timeout=None, wait_max=10.0))


def _pause(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if not isinstance(error, grpc.RpcError):
        return False
    if (delay := retry_after_s(error)) is not None:
        return min(max(delay, 0.01), _MAX_PAUSE_S)
    if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE:
        return True
    # A stage was late; the import's own time is not over.
    return reason_of(error) == BudgetExpired.reason
