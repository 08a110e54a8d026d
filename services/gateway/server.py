"""The gateway's server: grpc.aio with TLS, health, reflection, metrics and a graceful end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.context import RequestContext
from services.common.convert import context_to_proto
from services.common.process import freeze_gc
from services.gateway.adapters.stage_clients import StageClients, connect
from services.gateway.domain.budget import Stage
from services.gateway.flow import Parts
from services.gateway.handler import GatewayHandler
from services.gateway.impressions import ImpressionLog
from services.gateway.malformed import MalformedRequests
from services.gateway.memory import Memory
from services.gateway.metrics import Metrics
from services.gateway.popular import PopularItems
from services.gateway.security import server_credentials
from services.gateway.settings import GatewaySettings

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
STAGE_SERVICES = {
    Stage.QUERY_ENCODER: encoder_pb2.DESCRIPTOR.services_by_name["QueryEncoderService"].full_name,
    Stage.RETRIEVAL: retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"].full_name,
    Stage.RANKER: ranker_pb2.DESCRIPTOR.services_by_name["RankerService"].full_name,
    Stage.PRICING: pricing_pb2.DESCRIPTOR.services_by_name["PricingService"].full_name,
}
_PROBE_PERIOD_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_log = structlog.get_logger("kairos.server")


@dataclass
class GatewayServer:
    """A started gateway. `port` is the one that it listens on."""

    server: grpc.aio.Server
    port: int
    handler: GatewayHandler
    _settings: GatewaySettings
    _clients: StageClients
    _impressions: ImpressionLog
    _popular: PopularItems
    _health: health.aio.HealthServicer
    _probe: asyncio.Task[None]

    async def stop(self) -> None:
        """Says NOT_SERVING, lets calls in flight end, delivers what is queued."""
        self._probe.cancel()
        await self._health.enter_graceful_shutdown()
        await self.server.stop(self._settings.server.drain_s)
        self._popular.close()
        await self._impressions.close()
        await self._clients.close()


async def start_gateway(settings: GatewaySettings) -> GatewayServer:
    """Answers when it returns. A gateway serves as soon as it runs: without stages it degrades, it does not fail."""
    metrics, clients, memory = Metrics(), connect(settings), Memory(settings.search)
    impressions = ImpressionLog(clients, metrics)
    handler = GatewayHandler(Parts(clients, memory, impressions, settings), metrics, settings)
    size = settings.server.max_message_mb * 1024 * 1024
    server = grpc.aio.server(
        interceptors=[MalformedRequests()],
        options=[("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size),
                 ("grpc.so_reuseport", 0)],
    )  # fmt: skip
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(handler, server)
    healths = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"{settings.server.host}:{settings.server.port}"
    credentials = server_credentials(settings.security)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    for name in ("", SERVICE):
        await healths.set(name, health_pb2.HealthCheckResponse.SERVING)
    memory.track("default")
    popular = PopularItems(clients, memory, settings.search)
    probe = asyncio.create_task(_probe_stages(clients, healths))
    if settings.metrics.port:
        start_http_server(settings.metrics.port, settings.metrics.host, registry=metrics.registry)
    if not settings.security.api_keys and settings.server.host not in _LOOPBACK:
        _log.warning("open to everyone: no API keys, and not bound to loopback", host=settings.server.host)
    _log.info("listening", host=settings.server.host, port=port, tls=credentials is not None)
    return GatewayServer(server, port, handler, settings, clients, impressions, popular, healths, probe)


async def run(settings: GatewaySettings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = await start_gateway(settings)
    freeze_gc()
    await stop.wait()
    await gateway.stop()


async def _probe_stages(clients: StageClients, healths: health.aio.HealthServicer) -> None:
    """Each stage's own health, under its service's name: SERVING when it answers at all."""
    while True:
        for stage in Stage:
            serving = await _answers(clients, stage)
            status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
            await healths.set(STAGE_SERVICES[stage], status)
        await asyncio.sleep(_PROBE_PERIOD_S)


async def _answers(clients: StageClients, stage: Stage) -> bool:
    """An empty request is refused by a stage that works: INVALID_ARGUMENT is as good as OK."""
    context = context_to_proto(RequestContext("probe"))
    options: dict[str, Any] = {"timeout": _PROBE_TIMEOUT_S, "metadata": (("application", stage.value),)}
    match stage:
        case Stage.QUERY_ENCODER:
            call: Awaitable[Any] = clients.encoder.EncodeQuery(
                encoder_pb2.EncodeQueryRequest(context=context), **options
            )
        case Stage.RETRIEVAL:
            call = clients.retrieval.LookupProducts(retrieval_pb2.LookupProductsRequest(context=context), **options)
        case Stage.RANKER:
            call = clients.ranker.RankItems(ranker_pb2.RankItemsRequest(context=context), **options)
        case Stage.PRICING:
            call = clients.pricing.QuotePrices(pricing_pb2.QuotePricesRequest(context=context), **options)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return True
