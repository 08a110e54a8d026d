"""The gateway over gRPC, as the biller reads it."""

from __future__ import annotations

from kairos.ranker.v1 import ranker_pb2
from services.common.gateway_access import GatewayAccessSettings
from services.common.gateway_log import GatewayLog
from services.sponsored.biller.convert import page_from_proto
from services.sponsored.biller.ports import Log, LogPage

_KINDS = {Log.EVENTS: ranker_pb2.LOG_KIND_EVENTS, Log.IMPRESSIONS: ranker_pb2.LOG_KIND_IMPRESSIONS}


class GrpcShopGateway:
    """See ports.ShopGateway. The tenant is that of the key."""

    def __init__(self, settings: GatewayAccessSettings) -> None:
        self._gateway = GatewayLog(settings)

    def read(self, log: Log, page_token: str) -> LogPage:
        return page_from_proto(self._gateway.read(_KINDS[log], page_token))

    def brand(self, product_id: str) -> str:
        product = self._gateway.product(product_id)
        return product.brand if product else ""

    def close(self) -> None:
        self._gateway.close()
