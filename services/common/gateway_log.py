"""The gateway's log and catalogue, as processes that keep what they need of it read them: page by page, with blocking
gRPC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
import structlog

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.common.gateway_access import GatewayAccessSettings

# Records of one call. Pages come with their features, some 5 KB each: searches must not wait for a gateway that copies
# megabytes.
_RECORDS = {ranker_pb2.LOG_KIND_EVENTS: 500, ranker_pb2.LOG_KIND_IMPRESSIONS: 100}
_PRODUCTS = 200
_Record = TypeVar("_Record")
_Fact = TypeVar("_Fact")

_log = structlog.get_logger("kairos.gateway_log")


class LogFailed(Exception):
    """The gateway did not give the page. The same call may succeed later."""


class PlaceLost(LogFailed):
    """The gateway does not know the page token."""


class GatewayLog:
    """Of the tenant of the key. An empty page token: from the start. Each call raises LogFailed."""

    def __init__(self, settings: GatewayAccessSettings) -> None:
        self._channel = settings.channel()
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._metadata, self._timeout_s = settings.metadata, settings.timeout_s

    def read(self, log: ranker_pb2.LogKind.ValueType, page_token: str) -> gateway_pb2.ReadLogResponse:
        """A page. Raises PlaceLost."""
        request = gateway_pb2.ReadLogRequest(log=log, page_token=page_token, page_size=_RECORDS[log])
        answer: gateway_pb2.ReadLogResponse = self._call(self._stub.ReadLog, request)
        return answer

    def products(self, page_token: str) -> gateway_pb2.ListProductsResponse:
        """A page of the catalogue, in the order of the last change. Raises PlaceLost."""
        request = gateway_pb2.ListProductsRequest(page_token=page_token, page_size=_PRODUCTS)
        answer: gateway_pb2.ListProductsResponse = self._call(self._stub.ListProducts, request)
        return answer

    def product(self, id: str) -> product_pb2.Product | None:
        """None if the catalogue does not have it."""
        try:
            answer: gateway_pb2.GetProductResponse = self._call(
                self._stub.GetProduct, gateway_pb2.GetProductRequest(id=id)
            )
        except LogFailed as error:
            if isinstance(error.__cause__, grpc.RpcError) and error.__cause__.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return answer.product

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            failed = f"{type(request).__name__}: {error.code().name}: {error.details()}"
            # Nothing else of requests with a token can be wrong.
            if getattr(request, "page_token", "") and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise PlaceLost(failed) from error
            raise LogFailed(failed) from error


def readable(convert: Callable[[_Record], _Fact], records: Iterable[_Record]) -> Iterator[_Fact]:
    """One record that cannot be read does not hold up the others."""
    for record in records:
        try:
            yield convert(record)
        except InvalidArgument as error:
            _log.warning("a record of the log cannot be read", error=str(error))
