"""The gateway over gRPC, as the biller reads it."""

from __future__ import annotations

from collections.abc import Callable

from kairos.ranker.v1 import ranker_pb2
from services.common.gateway_access import GatewayAccessSettings
from services.common.gateway_log import GatewayLog
from services.sponsored.biller.convert import page_from_proto
from services.sponsored.biller.ports import Log, LogPage

_KINDS = {Log.EVENTS: ranker_pb2.LOG_KIND_EVENTS, Log.IMPRESSIONS: ranker_pb2.LOG_KIND_IMPRESSIONS}


class GrpcShopGateway:
    """See ports.ShopGateway. The tenant is that of the key. `person`: see Ledger.person."""

    def __init__(self, settings: GatewayAccessSettings, person: Callable[[str], str]) -> None:
        self._gateway, self._person = GatewayLog(settings), person

    def read(self, log: Log, page_token: str) -> LogPage:
        return page_from_proto(self._gateway.read(_KINDS[log], page_token), self._person)

    def brand(self, product_id: str) -> str:
        product = self._gateway.product(product_id)
        return product.brand if product else ""

    def close(self) -> None:
        self._gateway.close()
