"""A gateway with catalogue, log and item vectors in memory, over real gRPC: what `kairos train` calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from services.common.arrays import FloatArray
from services.common.convert import tensor_from_proto, vectors_to_proto
from services.common.errors import Conflict, InvalidArgument
from services.common.rpc import set_status


@dataclass
class ItemVectors:
    dimensions: int
    vectors: dict[str, FloatArray] = field(default_factory=dict)
    is_complete: bool = False


@dataclass
class FakeTrainingGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """`vectors` are the text vectors of `products`, of the model `vector_version`."""

    products: Sequence[product_pb2.Product]
    vectors: FloatArray
    events: list[event_pb2.Event] = field(default_factory=list)
    pages: list[event_pb2.Impressions] = field(default_factory=list)
    vector_version: str = "text@1"
    item_vectors: dict[str, ItemVectors] = field(default_factory=dict)
    # Names of the calls, in order.
    called: list[str] = field(default_factory=list)
    # Called before each answer, with the name of the call.
    before: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def DescribeCollections(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = gateway_pb2.DescribeCollectionsResponse()
        answer.live.product_count, answer.live.model_version = len(self.products), self.vector_version
        return answer

    def ListProducts(
        self, request: gateway_pb2.ListProductsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListProductsResponse:
        self._note("ListProducts")
        first = int(request.page_token or 0)
        last = min(len(self.products), first + (request.page_size or 100))
        answer = gateway_pb2.ListProductsResponse(next_page_token=str(last), is_last_page=last == len(self.products))
        for product in self.products[first:last]:
            answer.products.add(product=product)
        if request.with_vectors:
            rows = self.vectors[first:last].astype(np.float16)
            answer.vectors.CopyFrom(vectors_to_proto(rows, self.vector_version))
        return answer

    def ReadLog(
        self, request: gateway_pb2.ReadLogRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReadLogResponse:
        self._note("ReadLog")
        if request.page_token and not request.page_token.isdigit():
            set_status(context, InvalidArgument.of("page_token", "is damaged"))
            return gateway_pb2.ReadLogResponse()
        first, size = int(request.page_token or 0), min(request.page_size or 500, 1_000)
        if request.log == ranker_pb2.LOG_KIND_EVENTS:
            last = min(len(self.events), first + size)
            answer = gateway_pb2.ReadLogResponse(events=self.events[first:last])
            answer.is_last_page = last == len(self.events)
        else:
            last = min(len(self.pages), first + size)
            answer = gateway_pb2.ReadLogResponse(impressions=self.pages[first:last])
            answer.is_last_page = last == len(self.pages)
        answer.next_page_token = str(last)
        return answer

    def DescribeItemVectors(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = gateway_pb2.DescribeItemVectorsResponse()
        for name, held in self.item_vectors.items():
            answer.versions.add(
                model_version=name, dimensions=held.dimensions, product_count=len(held.vectors),
                is_complete=held.is_complete,
            )  # fmt: skip
        return answer

    def BeginItemVectors(
        self, request: gateway_pb2.BeginItemVectorsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.BeginItemVectorsResponse:
        self._note("BeginItemVectors")
        if request.model_version not in self.item_vectors and len(self.item_vectors) >= 3:
            set_status(context, Conflict("3 versions are held; drop one"))
            return gateway_pb2.BeginItemVectorsResponse()
        self.item_vectors.setdefault(request.model_version, ItemVectors(request.dimensions))
        return gateway_pb2.BeginItemVectorsResponse()

    def StoreItemVectors(
        self, request: gateway_pb2.StoreItemVectorsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.StoreItemVectorsResponse:
        self._note("StoreItemVectors")
        held = self.item_vectors[request.model_version]
        if request.ids:
            rows = tensor_from_proto(request.vectors.values, "vectors")
            held.vectors |= dict(zip(request.ids, rows, strict=True))
        held.is_complete = held.is_complete or request.is_complete
        return gateway_pb2.StoreItemVectorsResponse(stored_count=len(request.ids))

    def DropItemVectors(
        self, request: gateway_pb2.DropItemVectorsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.DropItemVectorsResponse:
        self._note("DropItemVectors")
        self.item_vectors.pop(request.model_version, None)
        return gateway_pb2.DropItemVectorsResponse()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Gives the address."""
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 32 << 20)])
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()

    def _note(self, name: str) -> None:
        with self._lock:
            self.called.append(name)
        if self.before is not None:
            self.before(name)
