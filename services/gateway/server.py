"""The gateway's server: grpc.aio with TLS, health, reflection, metrics and a graceful shutdown."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.process import freeze_gc
from services.gateway.background.stage_health import StageHealthProbe
from services.gateway.reflection import add_reflection
from services.gateway.rpc_method import KeepUnreadableMessages
from services.gateway.security import server_credentials
from services.gateway.settings import GatewaySettings
from services.gateway.wiring import Gateway, build_gateway

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_log = structlog.get_logger("kairos.server")


@dataclass
class GatewayServer:
    """A started gateway. `port` is the one that it listens on."""

    server: grpc.aio.Server
    port: int
    gateway: Gateway
    _settings: GatewaySettings
    _health: health.aio.HealthServicer
    _probe: StageHealthProbe

    async def stop(self) -> None:
        """Reports NOT_SERVING, lets calls in flight end, sends what is queued."""
        self._probe.close()
        await self._health.enter_graceful_shutdown()
        await self.server.stop(self._settings.server.drain_s)
        await self.gateway.close()


async def start_gateway(settings: GatewaySettings) -> GatewayServer:
    """Serves when it returns, also without stages: then the answers are degraded."""
    gateway = build_gateway(settings)
    size = settings.server.max_message_mb * 1024 * 1024
    server = grpc.aio.server(
        interceptors=[KeepUnreadableMessages(SERVICE)],
        options=[("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size),
                 ("grpc.so_reuseport", 0)],
    )  # fmt: skip
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway.handler, server)
    healths = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    add_reflection((SERVICE, health.SERVICE_NAME), server)
    address = f"{settings.server.host}:{settings.server.port}"
    credentials = server_credentials(settings.security)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await gateway.parts.token_keys.start()
    await server.start()
    for name in ("", SERVICE):
        await healths.set(name, health_pb2.HealthCheckResponse.SERVING)
    probe = StageHealthProbe(gateway.parts.stubs, gateway.parts.access, healths)
    if settings.metrics.port:
        start_http_server(settings.metrics.port, settings.metrics.host, registry=gateway.parts.metrics.registry)
    if not settings.security.api_keys and settings.server.host not in _LOOPBACK:
        _log.warning("every caller is accepted: no API keys, and not bound to loopback", host=settings.server.host)
    _log.info("listening", host=settings.server.host, port=port, tls=credentials is not None)
    return GatewayServer(server, port, gateway, settings, healths, probe)


async def run(settings: GatewaySettings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = await start_gateway(settings)
    freeze_gc()
    await stop.wait()
    await gateway.stop()
