"""The gateway's server: grpc.aio with TLS, health, reflection, metrics and a graceful shutdown."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

from services.common.process import freeze_gc, keep_freed_memory
from services.gateway.background.stage_health import StageHealthProbe
from services.gateway.handler import GatewayHandler
from services.gateway.message_limits import GATEWAY_SERVICE, GRPC_MESSAGE_BYTES
from services.gateway.open_services import OpenServices
from services.gateway.processes import parent_ended
from services.gateway.reflection import add_reflection
from services.gateway.settings import GatewaySettings
from services.gateway.wiring import Gateway, build_gateway

SERVICE = GATEWAY_SERVICE.full_name
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_OPTIONS = [
    ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", GRPC_MESSAGE_BYTES),
    # A connection without calls ends after five minutes. One that has existed for an hour is replaced, so that callers
    # spread over gateways that were added. The places of a caller that has vanished are free again after a minute.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Of one connection: more than the gateway serves at the same time.
    ("grpc.max_concurrent_streams", 1_024),
    # Of one call: an API key, a request id and a trace. Above it a call is refused.
    ("grpc.absolute_max_metadata_size", 8 << 10),
]

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


async def start_gateway(
    settings: GatewaySettings, is_worker: bool = False, clock: Callable[[], float] = time.time
) -> GatewayServer:
    """Serves when it returns, also without stages: then the answers are degraded.

    `is_worker`: it shares its port with others, and their parent serves the metrics. `clock` gives seconds since the
    epoch.
    """
    gateway = build_gateway(settings, clock)
    # Without it a second gateway that is started by mistake is refused the port.
    server = grpc.aio.server(options=[*_OPTIONS, ("grpc.so_reuseport", int(is_worker))])
    _add_gateway_service(gateway.handler, server)
    healths = health.aio.HealthServicer()
    _add_open_services(healths, OpenServices(server, settings.limits))
    address = f"{settings.server.host}:{settings.server.port}"
    credentials = settings.security.credentials()
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await gateway.parts.token_keys.start()
    await server.start()
    for name in ("", SERVICE):
        await healths.set(name, health_pb2.HealthCheckResponse.SERVING)
    probe = StageHealthProbe(gateway.parts.stubs, gateway.parts.access, healths, gateway.supervisor)
    if is_worker:
        gateway.supervisor.keep("metrics", gateway.parts.metrics.refresh)
    elif settings.metrics.port:
        start_http_server(settings.metrics.port, settings.metrics.host, registry=gateway.parts.metrics.registry)
    if settings.security.accepts_everybody and settings.server.host not in _LOOPBACK:
        _log.warning("every caller is accepted: no API keys, and not bound to loopback", host=settings.server.host)
    _log.info("listening", host=settings.server.host, port=port, tls=credentials is not None)
    return GatewayServer(server, port, gateway, settings, healths, probe)


def _add_open_services(healths: health.aio.HealthServicer, server: Any) -> None:
    """Health and reflection. They need no API key: load balancers and tools have none."""
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    add_reflection((SERVICE, health.SERVICE_NAME), server)


def _add_gateway_service(handler: GatewayHandler, server: grpc.aio.Server) -> None:
    """Every method takes a stream of bytes: it reads and parses its messages itself, after it has checked the key."""
    methods: dict[str, Any] = {
        name: (
            grpc.stream_stream_rpc_method_handler if method.server_streaming else grpc.stream_unary_rpc_method_handler
        )(getattr(handler, name), response_serializer=lambda message: message.SerializeToString())
        for name, method in GATEWAY_SERVICE.methods_by_name.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


async def run(settings: GatewaySettings, is_worker: bool = False) -> None:
    """Until SIGTERM or SIGINT, and as a worker until its parent has ended."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = await start_gateway(settings, is_worker)
    if is_worker:
        watch = asyncio.create_task(parent_ended())
        watch.add_done_callback(lambda _: stop.set())
    keep_freed_memory()
    freeze_gc()
    await stop.wait()
    await gateway.stop()
