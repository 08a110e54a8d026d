"""The servers that `benchmarks.hosting` compares: one handler and one gateway, hosted in several ways.

`python -m benchmarks.hosting_servers ROLE …` serves until SIGTERM. The roles under Serve read KAIROS_SUITE_*, as
`kairos up` does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import uvloop

from kairos.encoder.v1.encoder_pb2 import EncodeQueryRequest, EncodeQueryResponse
from kairos.encoder.v1.encoder_pb2_grpc import (
    QueryEncoderServiceServicer,
    QueryEncoderServiceStub,
    add_QueryEncoderServiceServicer_to_server,
)
from ops import hosting
from ops.host import host
from ops.hosting import Application, Deployment, ServeConfig, grpc_options, http_options
from ops.settings import LOOPBACK, SuiteSettings
from services.common.replica_file import read_replicas
from services.common.rpc import rpc
from services.common.settings import load_settings
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.gateway.adapters.stage_route import StageRoute

# The three applications that the gateway calls one after the other; the gateway's own application in Serve.
STAGES = ("query_encoder", "retrieval", "ranker")
GATEWAY = "gateway"
CALL_TIMEOUT_S = 10.0
# Instead of Kairos's own functions, which take a shorter path to the handler (services/common/direct_ingress.py).
GENERATED = "kairos.encoder.v1.encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server"


class StageHandler(QueryEncoderServiceServicer):
    """Returns the vector of the request, so that only the hosting is measured."""

    def __init__(self) -> None:
        configure_telemetry("stage", TelemetrySettings())

    @rpc(EncodeQueryResponse)
    async def EncodeQuery(self, request: EncodeQueryRequest) -> EncodeQueryResponse:  # noqa: N802 - the proto's name
        return EncodeQueryResponse(language="en", vector=request.query_context.session)


class GatewayHandler(QueryEncoderServiceServicer):
    """Calls the stages one after the other; each receives the vector of the one before.

    With a file of replicas it calls these directly, by the code of Kairos's gateway.
    """

    def __init__(self, targets: list[str], replicas_file: Path | None = None) -> None:
        configure_telemetry("gateway", TelemetrySettings())
        self._targets, self._replicas_file = targets, replicas_file
        self._stubs: list[tuple[QueryEncoderServiceStub, tuple[tuple[str, str], ...]]] = []

    @rpc(EncodeQueryResponse)
    async def EncodeQuery(self, request: EncodeQueryRequest) -> EncodeQueryResponse:  # noqa: N802 - the proto's name
        response = EncodeQueryResponse(vector=request.query_context.session)
        for stub, metadata in self._connected():
            request.query_context.session.CopyFrom(response.vector)
            response = await stub.EncodeQuery(request, timeout=CALL_TIMEOUT_S, metadata=metadata)
        return response

    def _connected(self) -> list[tuple[QueryEncoderServiceStub, tuple[tuple[str, str], ...]]]:
        """Created at the first call: a channel belongs to the event loop that calls."""
        if not self._stubs:
            channels: list[Any] = [grpc.aio.insecure_channel(target) for target in self._targets]
            if self._replicas_file is not None:
                channels = [StageRoute(stage, channel) for stage, channel in zip(STAGES, channels, strict=True)]
                self._following = asyncio.create_task(self._follow(self._replicas_file, channels))
            self._stubs = [
                (QueryEncoderServiceStub(channel), (("application", stage),))  # type: ignore[no-untyped-call]
                for channel, stage in zip(channels, STAGES, strict=True)
            ]
        return self._stubs

    async def _follow(self, file: Path, routes: list[StageRoute]) -> None:
        while True:
            replicas = read_replicas(file)
            for stage, route in zip(STAGES, routes, strict=True):
                route.use(replicas.get(stage, {}))
            await asyncio.sleep(1)


def build_stage(args: dict[str, Any]) -> Any:
    """A stage as a Serve application."""
    from ray import serve

    return serve.deployment(name="stage", max_ongoing_requests=128)(StageHandler).bind()


def build_gateway(args: dict[str, Any]) -> Any:
    """The gateway as a Serve application."""
    from ray import serve

    return serve.deployment(name="gateway", max_ongoing_requests=128)(GatewayHandler).bind(args["targets"])


async def serve_plain(handler: object, port: int) -> None:
    """One handler on a plain grpc.aio server until SIGTERM."""
    server = grpc.aio.server()
    add_QueryEncoderServiceServicer_to_server(handler, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


def serve_as_kairos(settings: SuiteSettings, stop: threading.Event) -> int:
    """The three stages, hosted by the launcher of `kairos up`."""
    deployment = Deployment(
        name="stage", num_replicas=1, max_ongoing_requests=128, health_check_period_s=1, health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2, ray_actor_options={"num_cpus": 0.5},
    )  # fmt: skip
    applications = [
        Application(
            name=stage,
            import_path="benchmarks.hosting_servers:build_stage",
            route_prefix=f"/{stage}",
            deployments=[deployment],
        )
        for stage in STAGES
    ]
    return host(settings, ServeConfig(applications=applications), stop)


def serve_with_defaults(settings: SuiteSettings, stop: threading.Event) -> int:
    """The three stages and the gateway with Serve's defaults; only ports and CPUs are set."""
    import ray
    from ray import serve

    ray.init(num_cpus=settings.num_cpus, include_dashboard=False, _node_ip_address=LOOPBACK, log_to_driver=False)
    try:
        options = grpc_options(settings) | {"grpc_servicer_functions": [GENERATED]}
        serve.start(http_options=http_options(settings), grpc_options=options)
        for stage in STAGES:
            serve.run(build_stage({}), name=stage, route_prefix=f"/{stage}")
        ingress = f"{LOOPBACK}:{settings.ingress_grpc_port}"
        serve.run(build_gateway({"targets": [ingress] * len(STAGES)}), name=GATEWAY, route_prefix=f"/{GATEWAY}")
        stop.wait()
    finally:
        with contextlib.suppress(Exception):
            serve.shutdown()
        ray.shutdown()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["stage", "gateway", "kairos", "serve"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--targets", nargs="*", default=[])
    parser.add_argument("--replicas-file", type=Path)
    parser.add_argument("--generated", action="store_true", help="kairos with the generated servicer functions")
    arguments = parser.parse_args()
    if arguments.role in ("stage", "gateway"):
        is_stage = arguments.role == "stage"
        handler = StageHandler() if is_stage else GatewayHandler(arguments.targets, arguments.replicas_file)
        uvloop.run(serve_plain(handler, arguments.port))
        return 0
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    settings = load_settings(SuiteSettings)
    if arguments.generated:
        hosting.SERVICER_FUNCTIONS = [GENERATED]
    return (serve_as_kairos if arguments.role == "kairos" else serve_with_defaults)(settings, stop)


if __name__ == "__main__":
    sys.exit(main())
