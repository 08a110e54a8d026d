"""The gateway's log and catalogue over gRPC, as facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
import structlog

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.learning.convert import (
    ACTS,
    Key,
    impression_of_event,
    impressions_from_proto,
    interaction_from_proto,
    is_observed,
    listed_from_proto,
    observed_from_proto,
    seconds,
)
from services.pricing.learning.ports import CataloguePage, Log, LogFailed, LogPage, PlaceLost

# Records of one call. Pages come with their features, some 5 KB each: searches must not wait for a gateway that copies
# megabytes.
_RECORDS = {Log.EVENTS: 500, Log.IMPRESSIONS: 100}
_PRODUCTS = 200
_KINDS = {Log.EVENTS: ranker_pb2.LOG_KIND_EVENTS, Log.IMPRESSIONS: ranker_pb2.LOG_KIND_IMPRESSIONS}
_Record = TypeVar("_Record")
_Fact = TypeVar("_Fact")

_log = structlog.get_logger("kairos.price_learning")


class GrpcDemandLog:
    """See ports.DemandLog. `key` makes keys of ids: see SqliteDemandStore."""

    def __init__(self, settings: GatewayAccessSettings, key: Key) -> None:
        self._channel = settings.channel()
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._metadata, self._timeout_s, self._key = settings.metadata, settings.timeout_s, key

    def read(self, log: Log, page_token: str) -> LogPage:
        asked = gateway_pb2.ReadLogRequest(log=_KINDS[log], page_token=page_token, page_size=_RECORDS[log])
        answer: gateway_pb2.ReadLogResponse = self._call(self._stub.ReadLog, asked)
        elsewhere = [event for event in answer.events if event.type == event_pb2.EVENT_TYPE_IMPRESSION]
        done = [event for event in answer.events if event.type in ACTS]
        shown = _readable(lambda page: list(impressions_from_proto(page, self._key)), answer.impressions)
        times = [page.shown_at for page in answer.impressions] or [event.occurred_at for event in answer.events]
        return LogPage(
            [
                *(one for page in shown for one in page),
                *_readable(lambda event: impression_of_event(event, self._key), elsewhere),
            ],
            list(_readable(lambda event: interaction_from_proto(event, self._key), done)),
            answer.next_page_token,
            answer.is_last_page,
            seconds(times[-1]) if times else None,
        )

    def catalogue(self, page_token: str) -> CataloguePage:
        asked = gateway_pb2.ListProductsRequest(page_token=page_token, page_size=_PRODUCTS)
        answer: gateway_pb2.ListProductsResponse = self._call(self._stub.ListProducts, asked)
        products = [listed_from_proto(entry.product) for entry in answer.products]
        offers = (made for entry in answer.products for made in entry.offers if is_observed(made))
        observed = list(_readable(observed_from_proto, offers))
        return CataloguePage(products, answer.next_page_token, answer.is_last_page, answer.is_restarted, observed)

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: Any, asked: gateway_pb2.ReadLogRequest | gateway_pb2.ListProductsRequest) -> Any:
        try:
            return method(asked, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            failed = f"{type(asked).__name__}: {error.code().name}: {error.details()}"
            # Nothing else of these requests can be wrong.
            if asked.page_token and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise PlaceLost(failed) from error
            raise LogFailed(failed) from error


def _readable(convert: Callable[[_Record], _Fact], records: Iterable[_Record]) -> Iterator[_Fact]:
    """One record that cannot be read does not hold up the others."""
    for record in records:
        try:
            yield convert(record)
        except InvalidArgument as error:
            _log.warning("a record of the log cannot be read", error=str(error))
