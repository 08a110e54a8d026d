"""Reads catalogue and log of a running suite through its gateway into the work folder, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from catalog.retries import attempts
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from services.common.convert import tensor_from_proto
from training.suite.progress import Progress as Bar
from training.suite.work import Progress, StoredProduct, WorkFolder

EVENTS, IMPRESSIONS, RANKINGS = "events", "impressions", "rankings"
_KINDS = {
    EVENTS: ranker_pb2.LOG_KIND_EVENTS, IMPRESSIONS: ranker_pb2.LOG_KIND_IMPRESSIONS,
    RANKINGS: ranker_pb2.LOG_KIND_RANKINGS,
}  # fmt: skip
# The gateway's limits of a page. Products come with their vectors.
_RECORDS, _PRODUCTS = 1_000, 200
_TIMEOUT_S = 60.0


class TokenLost(Exception):
    """The gateway does not accept the place at which an earlier run stopped."""


def read_products(connection: Connection, work: WorkFolder, bar: Bar) -> None:
    """All products with their vectors; what an earlier run has read is kept."""
    progress = work.progress("products")
    with connection.stub() as stub, bar.stage("Reading products", done=work.count("products")) as stage:
        if not progress.is_done:
            stage.total(_product_count(stub, connection))
        while not progress.is_done:
            request = gateway_pb2.ListProductsRequest(page_token=progress.token, page_size=_PRODUCTS, with_vectors=True)
            page = call(stub.ListProducts, request, connection)
            _note_version(work, page)
            progress = Progress(page.next_page_token, page.is_last_page)
            work.add_products(_products(page), progress, page.is_restarted)
            stage.update(work.count("products"))


def read_logs(connection: Connection, work: WorkFolder, kinds: Sequence[str], bar: Bar) -> None:
    """As `read_log`; a log whose place is not accepted any more is read from its beginning."""
    for kind in kinds:
        try:
            read_log(connection, work, kind, bar)
        except TokenLost:
            # The gateway's key has changed since the earlier run.
            work.clear_records(kind)
            read_log(connection, work, kind, bar)


def read_log(connection: Connection, work: WorkFolder, kind: str, bar: Bar) -> None:
    """All records of a log at this moment; what an earlier run has read is kept.

    Raises TokenLost if the place at which that run stopped is not accepted any more.
    """
    progress = work.progress(kind)
    with connection.stub() as stub, bar.stage(f"Reading {kind}", done=work.count(kind)) as stage:
        while not progress.is_done:
            request = gateway_pb2.ReadLogRequest(log=_KINDS[kind], page_token=progress.token, page_size=_RECORDS)
            try:
                page = call(stub.ReadLog, request, connection)
            except grpc.RpcError as error:
                if progress.token and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise TokenLost(kind) from None
                raise
            records: Sequence[Any] = page.events if kind == EVENTS else page.impressions
            progress = Progress(page.next_page_token, page.is_last_page)
            work.add_records(kind, [record.SerializeToString() for record in records], progress)
            stage.update(work.count(kind))


def call(method: Any, request: Any, connection: Connection) -> Any:
    """Sends the call again while the gateway is busy or unavailable for a short time."""
    for attempt in attempts():
        with attempt:
            return method(request, timeout=_TIMEOUT_S, metadata=connection.metadata)
    raise AssertionError("the last attempt raises")


def _product_count(stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection) -> int:
    described = call(stub.DescribeCollections, gateway_pb2.DescribeCollectionsRequest(), connection)
    return int(described.live.product_count)


def _note_version(work: WorkFolder, page: gateway_pb2.ListProductsResponse) -> None:
    """The model of the text vectors; a switch to another model during the reading begins it again."""
    if not page.HasField("vectors") or not page.products:
        return
    version, known = page.vectors.model_version, work.about().get("vector_version")
    if known is None:
        work.note(vector_version=version)
    elif known != version:
        work.clear_products()
        work.note(vector_version=version)
        raise ValueError(f"the catalogue changed to the vectors of {version!r} meanwhile; run the command again")


def _products(page: gateway_pb2.ListProductsResponse) -> list[StoredProduct]:
    texts, images = _rows(page, "vectors"), _rows(page, "image_vectors")
    return [
        StoredProduct(entry.product.id, entry.product.SerializeToString(), texts[row], images[row])
        for row, entry in enumerate(page.products)
    ]


def _rows(page: gateway_pb2.ListProductsResponse, name: str) -> list[bytes]:
    """Of each product its vector as float16, empty for a row of zeros."""
    if not page.HasField(name):  # type: ignore[arg-type]
        return [b""] * len(page.products)
    message: common_pb2.Vectors = getattr(page, name)
    rows = tensor_from_proto(message.values, name).astype(np.float16)
    if len(rows) != len(page.products):
        raise ValueError(f"the gateway gave {len(rows)} {name} for {len(page.products)} products")
    return [row.tobytes() if row.any() else b"" for row in rows]
