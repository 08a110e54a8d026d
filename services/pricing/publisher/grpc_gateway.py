"""The gateway over gRPC, as the publisher uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import structlog
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.errors import InvalidArgument
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.domain.offered_product import OfferedProduct
from services.pricing.domain.publication import PriceChange
from services.pricing.publisher.convert import change_to_proto, product_from_proto
from services.pricing.publisher.ports import GatewayFailed, Page, PageTokenRefused, Published

# Offers of one message, and products of a page: the most that the gateway takes or its default.
_OFFERS, _PRODUCTS = 1_000, 200

_log = structlog.get_logger("kairos.price_publisher")


class GrpcShopGateway:
    """See ports.ShopGateway."""

    def __init__(self, settings: GatewayAccessSettings) -> None:
        self._channel = settings.channel()
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._metadata = settings.metadata
        self._timeout_s = settings.timeout_s

    def changes(self, page_token: str) -> Page:
        asked = gateway_pb2.ListProductsRequest(page_token=page_token, page_size=_PRODUCTS)
        try:
            answer = self._stub.ListProducts(asked, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            if page_token and "page_token" in _wrong_fields(error):
                raise PageTokenRefused("the place in the catalogue is unknown; it is read from the start") from error
            raise _failed("ListProducts", error) from error
        return Page(list(_readable(answer.products)), answer.next_page_token, answer.is_last_page, answer.is_restarted)

    def publish(self, changes: Sequence[PriceChange]) -> Published:
        offers = list(map(change_to_proto, changes))
        messages = (
            gateway_pb2.UpdateOffersRequest(offers=offers[first : first + _OFFERS])
            for first in range(0, len(offers), _OFFERS)
        )
        try:
            answer = self._stub.UpdateOffers(messages, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _failed("UpdateOffers", error) from error
        if answer.rejected:
            first = answer.rejected[0]
            _log.warning(
                "prices were rejected", count=answer.rejected_count, product_id=first.product_id, field=first.field,
                reason=first.reason,
            )  # fmt: skip
        return Published(answer.rejected_count, list(answer.missing_ids))

    def close(self) -> None:
        self._channel.close()


def _readable(listed: Sequence[gateway_pb2.ListedProduct]) -> Iterator[OfferedProduct]:
    """One product that cannot be read does not hold up the others."""
    for entry in listed:
        try:
            yield product_from_proto(entry)
        except InvalidArgument as error:
            _log.warning("a product cannot be priced", product_id=entry.product.id, error=str(error))


def _failed(method: str, error: grpc.RpcError) -> GatewayFailed:
    retry = error_details_pb2.RetryInfo()
    asked_s = next((retry.retry_delay.ToNanoseconds() / 1e9 for detail in _details(error) if detail.Unpack(retry)), 0.0)
    hint = ""
    if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        hint = "; KAIROS_PRICE_PUBLISHER_GATEWAY__API_KEY needs a key with the role write"
    return GatewayFailed(f"{method}: {error.code().name}: {error.details()}{hint}", asked_s)


def _wrong_fields(error: grpc.RpcError) -> list[str]:
    bad = error_details_pb2.BadRequest()
    found = any(detail.Unpack(bad) for detail in _details(error))
    return [wrong.field for wrong in bad.field_violations] if found else []


def _details(error: grpc.RpcError) -> Sequence[Any]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    return status.details if status else ()
