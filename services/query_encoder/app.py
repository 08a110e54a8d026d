"""The Ray Serve application `query_encoder`."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.util.metrics import Gauge

from kairos.encoder.v1 import encoder_pb2
from services.common.context import DEFAULT_TENANT
from services.common.process import freeze_gc, keep_freed_memory
from services.common.rpc import CallContext
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry
from services.query_encoder.metrics import MEASURES
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler


class QueryEncoder:
    """One replica. Serve finds the method by the last segment of the RPC's path."""

    def __init__(self, settings: QueryEncoderSettings) -> None:
        configure_telemetry("query_encoder", settings.telemetry)
        guard_stage()
        self._handler = build_handler(settings)
        self._handler.warm(DEFAULT_TENANT)
        self._gauges = {name: Gauge(name, text) for name, text in MEASURES.items()}
        keep_freed_memory()
        freeze_gc()

    async def EncodeQuery(
        self, request: encoder_pb2.EncodeQueryRequest, grpc_context: CallContext
    ) -> encoder_pb2.EncodeQueryResponse:
        return await self._handler.EncodeQuery(request, grpc_context)

    async def Suggest(
        self, request: encoder_pb2.SuggestRequest, grpc_context: CallContext
    ) -> encoder_pb2.SuggestResponse:
        return await self._handler.Suggest(request, grpc_context)

    async def EncodeProducts(
        self, request: encoder_pb2.EncodeProductsRequest, grpc_context: CallContext
    ) -> encoder_pb2.EncodeProductsResponse:
        return await self._handler.EncodeProducts(request, grpc_context)

    async def UpdateLexicon(
        self, request: encoder_pb2.UpdateLexiconRequest, grpc_context: CallContext
    ) -> encoder_pb2.UpdateLexiconResponse:
        return await self._handler.UpdateLexicon(request, grpc_context)

    async def ListCompanions(
        self, request: encoder_pb2.ListCompanionsRequest, grpc_context: CallContext
    ) -> encoder_pb2.ListCompanionsResponse:
        return await self._handler.ListCompanions(request, grpc_context)

    async def EncodeImage(
        self, request: encoder_pb2.EncodeImageRequest, grpc_context: CallContext
    ) -> encoder_pb2.EncodeImageResponse:
        return await self._handler.EncodeImage(request, grpc_context)

    async def EncodeTexts(
        self, request: encoder_pb2.EncodeTextsRequest, grpc_context: CallContext
    ) -> encoder_pb2.EncodeTextsResponse:
        return await self._handler.EncodeTexts(request, grpc_context)

    def check_health(self) -> None:
        # Serve asks every ten seconds.
        for name, value in self._handler.measures().items():
            self._gauges[name].set(value)
        self._handler.check()


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they override the environment."""
    return serve.deployment(name="query_encoder")(QueryEncoder).bind(load_settings(QueryEncoderSettings, args))
