"""Imports: rows of a file to the gateway, bad ones into a rejects file, good ones acknowledged as they go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import grpc
import stamina
from tqdm import tqdm

from catalog.events import event_of
from catalog.mapping import ProductMapping, RowRefused
from catalog.rows import Row, read_rows
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection

# Products of one stream, after which the gateway acknowledges, and of one message.
_STREAM = 2_000
_MESSAGE = 200
# Of a message's pictures, beyond which it is sent; the gateway takes 16 MiB, of one picture 8.
_MESSAGE_BYTES = 4 << 20
_MAX_PICTURE = 8 << 20
_EVENTS = 500
_TIMEOUT_S = 600.0
_ATTEMPTS = 8


@dataclass
class Summary:
    """What became of the rows."""

    read: int = 0
    imported: int = 0
    unchanged: int = 0
    duplicates: int = 0
    rejected: int = 0


@dataclass
class Rejects:
    """Opened with the first bad row: a clean import leaves no file."""

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
    connection: Connection
    mapping: ProductMapping
    rejects: Rejects
    summary: Summary = field(default_factory=Summary)
    # What image_uri is relative to. None: no pictures are sent.
    images: Path | None = None
    missing_pictures: int = 0
    # By id: the line that it came on first, and a digest of its content.
    _seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def run(self, path: Path, quiet: bool = False) -> Summary:
        """Raises grpc.RpcError when the gateway refuses a stream; what it acknowledged before stays."""
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
        # A stage that is down for a moment, or busy, ends no import: what went in already is known by its fingerprint.
        for attempt in stamina.retry_context(on=_is_unavailable, attempts=_ATTEMPTS, timeout=None, wait_max=10.0):
            with attempt:
                answer = stub.ImportProducts(
                    self._messages(batch), timeout=_TIMEOUT_S, metadata=self.connection.metadata
                )
        self.summary.imported += answer.imported_count
        self.summary.unchanged += answer.unchanged_count
        for rejected in answer.rejected:
            self.rejects.add(batch[rejected.index][0], rejected.field, rejected.reason)

    def _messages(self, batch: list[tuple[Row, product_pb2.Product]]) -> Iterator[gateway_pb2.ImportProductsRequest]:
        message, size = gateway_pb2.ImportProductsRequest(), 0
        for _, product in batch:
            image = self._picture(product.image_uri)
            message.products.append(product)
            message.images.append(image)
            size += len(image)
            if len(message.products) == _MESSAGE or size >= _MESSAGE_BYTES:
                yield _lean(message)
                message, size = gateway_pb2.ImportProductsRequest(), 0
        if message.products:
            yield _lean(message)

    def _picture(self, uri: str) -> bytes:
        """Empty where there is none. A path that leads out of the folder counts as missing."""
        if self.images is None or not uri:
            return b""
        folder = self.images.resolve()
        path = (folder / uri).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            self.missing_pictures += 1
            return b""
        if path.stat().st_size > _MAX_PICTURE:
            # One byte too many says as much to the gateway as all of them.
            with path.open("rb") as file:
                return file.read(_MAX_PICTURE + 1)
        return path.read_bytes()


def _lean(message: gateway_pb2.ImportProductsRequest) -> gateway_pb2.ImportProductsRequest:
    """Without pictures there is no column for them."""
    if not any(message.images):
        message.ClearField("images")
    return message


@dataclass
class EventsImport:
    connection: Connection
    rejects: Rejects
    summary: Summary = field(default_factory=Summary)

    def run(self, path: Path, quiet: bool = False) -> Summary:
        rows = self._good_rows(path)
        with self.connection.stub() as stub, tqdm(unit=" events", disable=quiet, desc="Recording") as bar:
            while batch := list(islice(rows, _EVENTS)):
                message = gateway_pb2.RecordEventsRequest(events=batch)
                answer = stub.RecordEvents(message, timeout=_TIMEOUT_S, metadata=self.connection.metadata)
                self.summary.imported += answer.recorded_count
                self.summary.duplicates += answer.duplicate_count
                bar.update(len(batch))
        self.rejects.close()
        self.summary.rejected = self.rejects.count
        return self.summary

    def _good_rows(self, path: Path) -> Iterator[event_pb2.Event]:
        for row in read_rows(path):
            self.summary.read += 1
            if row.problem:
                self.rejects.add(row, "row", row.problem)
                continue
            try:
                yield event_of(row.values)
            except RowRefused as refused:
                self.rejects.add(row, refused.field, refused.reason)


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE
