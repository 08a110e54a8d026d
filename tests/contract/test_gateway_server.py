"""The gateway's server: API keys, health, reflection, request ids, unreadable messages, traces, shutdown, metrics."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.gateway import reflection
from services.gateway.background.stage_health import STAGE_SERVICES
from services.gateway.server import SERVICE, GatewayServer, start_gateway
from services.gateway.settings import (
    GatewaySettings,
    LimitSettings,
    MetricsSettings,
    SecuritySettings,
    ServerSettings,
)
from tests.contract.gateways import hashed_key
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

SEARCH = f"/{SERVICE}/Search"
OK, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
# These gateways have no stages: port 1 refuses at once, and the answers are degraded.
NOWHERE = {
    stage: {"target": "127.0.0.1:1"}
    for stage in ("query_encoder", "retrieval", "ranker", "sponsored", "pricing", "assistant")
}


@asynccontextmanager
async def gateway(
    security: SecuritySettings | None = None,
    targets: dict[str, str] | None = None,
    limits: LimitSettings | None = None,
) -> AsyncIterator[GatewayServer]:
    stages = {stage: {"target": target} for stage, target in targets.items()} if targets else NOWHERE
    settings = GatewaySettings(
        stages=stages,  # type: ignore[arg-type]
        security=security or SecuritySettings(),
        limits=limits or LimitSettings(),
        server=ServerSettings(port=0, drain_s=0.5),
        metrics=MetricsSettings(port=0),
    )
    started = await start_gateway(settings)
    try:
        yield started
    finally:
        await started.stop()


@asynccontextmanager
async def calling(started: GatewayServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{started.port}") as channel:
        yield channel


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    bad, details = error_details_pb2.BadRequest(), dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    assert any(detail.Unpack(bad) for detail in status_pb2.Status.FromString(details).details)
    return [violation.field for violation in bad.field_violations]


# --- API keys and TLS


@pytest.mark.parametrize(
    ("authorization", "method", "code"),
    [
        (None, "Search", grpc.StatusCode.UNAUTHENTICATED),
        ("Bearer nobody", "Search", grpc.StatusCode.UNAUTHENTICATED),
        ("Basic reader", "Search", grpc.StatusCode.UNAUTHENTICATED),
        ("Bearer reader", "DeleteProducts", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "SwitchCollections", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "StoreEmbeddings", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "MergeUsers", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "ReadLog", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "DescribeItemVectors", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "BeginItemVectors", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "StoreItemVectors", grpc.StatusCode.PERMISSION_DENIED),
        ("Bearer reader", "DropItemVectors", grpc.StatusCode.PERMISSION_DENIED),
        # Accepted: only the stage is missing.
        ("Bearer writer", "DeleteProducts", grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_keys_and_roles(authorization: str | None, method: str, code: grpc.StatusCode) -> None:
    """Without a known key a call is UNAUTHENTICATED; a key that may only read is PERMISSION_DENIED for writes."""
    security = SecuritySettings(api_keys=(hashed_key("reader", "shop", "read"), hashed_key("writer", "shop", "write")))
    metadata = (("authorization", authorization),) if authorization else ()
    async with gateway(security) as started, calling(started) as channel:
        stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
        request = getattr(gateway_pb2, f"{method}Request")(**({"ids": ["a"]} if method == "DeleteProducts" else {}))
        error = await refused(getattr(stub, method)(request, metadata=metadata))
        assert error.code() is code
        # Health stays open: load balancers have no key.
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == OK


def _certificate(folder: Path, name: str, issuer: Any = None) -> tuple[Any, Any]:
    """Writes NAME.pem and NAME.key; returns (certificate, key)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(pem)
    return certificate, key


async def test_mutual_tls(tmp_path: Path) -> None:
    """With a client CA, a caller with a certificate of it is served; one without is not."""
    ca = _certificate(tmp_path, "ca")
    for name in ("server", "client"):
        _certificate(tmp_path, name, ca)

    def read(name: str) -> bytes:
        return (tmp_path / name).read_bytes()

    security = SecuritySettings(
        certificate=tmp_path / "server.pem", key=tmp_path / "server.key", client_ca=tmp_path / "ca.pem"
    )
    with_certificate = grpc.ssl_channel_credentials(read("ca.pem"), read("client.key"), read("client.pem"))
    without = grpc.ssl_channel_credentials(read("ca.pem"))
    async with gateway(security) as started:
        address = f"127.0.0.1:{started.port}"
        async with grpc.aio.secure_channel(address, with_certificate) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=10)).status == OK
        async with grpc.aio.secure_channel(address, without) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            error = await refused(health.Check(health_pb2.HealthCheckRequest(), timeout=10))
            assert error.code() is grpc.StatusCode.UNAVAILABLE


# --- health and reflection


async def test_health_of_gateway_and_stages() -> None:
    """The gateway serves without its stages; each of them is NOT_SERVING under its own name."""
    async with gateway() as started, calling(started) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == OK
        for name in STAGE_SERVICES.values():
            watched = health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=10)
            async for answer in watched:
                if answer.status == NOT_SERVING:
                    break
            watched.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_client_that_knows_only_reflection_can_search(version: str) -> None:
    """Descriptors by reflection, of either version, are enough to call Search and to read its answer."""
    async with gateway() as started, calling(started) as channel:
        # Both versions have the same messages on the wire.
        reflect: Any = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
        files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        wanted = [asked]
        while wanted:
            async for answer in reflect(iter(wanted)):
                for data in answer.file_descriptor_response.file_descriptor_proto:
                    file = descriptor_pb2.FileDescriptorProto.FromString(data)
                    files[file.name] = file
            missing = {name for file in files.values() for name in file.dependency} - set(files)
            wanted = [reflection_pb2.ServerReflectionRequest(file_by_filename=name) for name in sorted(missing)]
        pool = descriptor_pool.DescriptorPool()

        def add(name: str) -> None:
            for dependency in files[name].dependency:
                add(dependency)
            pool.Add(files[name])

        for name in files:
            add(name)
        method = pool.FindServiceByName(SERVICE).methods_by_name["Search"]
        request = message_factory.GetMessageClass(method.input_type)(query="hdmi cable 6ft")
        answer_type = message_factory.GetMessageClass(method.output_type)
        call: Any = channel.unary_unary(
            SEARCH, request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer_type.FromString
        )
        answer = await call(request, timeout=5)
        assert answer.degradations


async def test_reflection_describes_itself() -> None:
    """A client of the current reflection finds its service in the list, and its descriptor by that name."""
    async with gateway() as started, calling(started) as channel:
        reflect: Any = channel.stream_stream(
            f"/{reflection.SERVICE_NAME}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=reflection.SERVICE_NAME),
        ]
        listed, described = [answer async for answer in reflect(iter(asked))]
        names = {service.name for service in listed.list_services_response.service}
        assert names >= {SERVICE, reflection.SERVICE_NAME, "grpc.reflection.v1alpha.ServerReflection"}
        (data,) = described.file_descriptor_response.file_descriptor_proto
        assert descriptor_pb2.FileDescriptorProto.FromString(data).package == "grpc.reflection.v1"


# --- request ids and unreadable messages


@pytest.mark.parametrize(("sent", "kept"), [("order-17", True), ("x" * 500, False), ("", False)])
async def test_request_ids(sent: str, kept: bool) -> None:
    """x-request-id is in the answer as it was sent; an empty or overlong one is replaced."""
    async with gateway() as started, calling(started) as channel:
        stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
        call = stub.Search(gateway_pb2.SearchRequest(query="lamp"), metadata=(("x-request-id", sent),))
        echoed = dict(await call.initial_metadata())["x-request-id"]
        assert (echoed == sent) if kept else (len(echoed) == 32)
        await call


@pytest.mark.parametrize(
    "data", [b"\x0a\x02\xc3\x28", b"\x0a\xff\x01short", b"\xff\xff\xff"], ids=["not UTF-8", "cut off", "no message"]
)
async def test_an_unreadable_request(data: bytes) -> None:
    """Bytes that are no message and text that is not UTF-8 are INVALID_ARGUMENT, also in a stream."""
    async with gateway() as started, calling(started) as channel:
        search: Any = channel.unary_unary(SEARCH)
        imports: Any = channel.stream_unary(f"/{SERVICE}/ImportProducts")
        for call in (search(data, timeout=10), imports(iter([data]), timeout=10)):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert fields_of(error) == ["request"]


async def test_the_key_is_checked_before_the_message() -> None:
    """A caller without a key learns nothing about the message."""
    security = SecuritySettings(api_keys=(hashed_key("reader", "shop", "read"),))
    async with gateway(security) as started, calling(started) as channel:
        raw: Any = channel.unary_unary(SEARCH)
        error = await refused(raw(b"\xff\xff\xff", timeout=10))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_unknown_method_is_unimplemented() -> None:
    """Unknown methods of the gateway's service and of other services are UNIMPLEMENTED."""
    async with gateway() as started, calling(started) as channel:
        for path in (f"/{SERVICE}/Haggle", "/shop.v1.Till/Open"):
            raw: Any = channel.unary_unary(path)
            error = await refused(raw(b"", timeout=10))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED


# --- the process


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_sigterm_ends_the_process_and_delivers_its_spans(tmp_path: Path) -> None:
    """`python -m services.gateway` continues the caller's trace, ends with 0 at SIGTERM, and loses no span."""
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    config = tmp_path / "gateway.yaml"
    config.write_text(
        json.dumps(
            {
                "stages": NOWHERE,
                "server": {"port": 0},
                "metrics": {"port": 0},
                "telemetry": {"otlp_endpoint": f"127.0.0.1:{port}"},
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway",
        env={**os.environ, "KAIROS_GATEWAY_CONFIG": str(config)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        listening: dict[str, Any] = {}
        async for line in process.stderr:
            listening = json.loads(line)
            if listening["event"] == "listening":
                break
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listening['port']}") as channel:
            stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
            metadata = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)
            await stub.Search(gateway_pb2.SearchRequest(query="lamp"), metadata=metadata, timeout=10)
        process.send_signal(signal.SIGTERM)
        rest = await process.stderr.read()
        assert await process.wait() == 0, rest.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    ours = {span.name for span in collector.spans if span.trace_id.hex() == trace_id}
    assert {"Search", "query_encoder", "retrieval"} <= ours
    await server.stop(0)


# --- metrics


async def test_the_circuit_gauge_follows_the_breaker() -> None:
    """Calls are counted by method and code; circuit_open is 1 after repeated failures of a stage, 0 once it answers."""
    stages = FakeStages()
    await stages.start()
    try:
        limits = LimitSettings(failures_to_open=2, probe_ms=20)
        async with gateway(targets=stages.targets, limits=limits) as started, calling(started) as channel:
            stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
            registry = started.gateway.parts.metrics.registry

            def value(name: str, **labels: str) -> float | None:
                return registry.get_sample_value(f"kairos_gateway_{name}", labels)

            await stages.worsen("ranker", "error")
            searches = 0
            while value("circuit_open", stage="ranker") == 0 and searches < 20:
                await stub.Search(gateway_pb2.SearchRequest(query="lamp"), timeout=2)
                searches += 1
            assert value("circuit_open", stage="ranker") == 1
            await stages.worsen("ranker", "well")
            # The next call is a probe.
            await asyncio.sleep(0.05)
            await stub.Search(gateway_pb2.SearchRequest(query="lamp"), timeout=2)
            assert value("circuit_open", stage="ranker") == 0
            assert value("requests_total", method="Search", code="OK") == searches + 1
    finally:
        await stages.stop()


async def test_clicks_are_located() -> None:
    """A click with its attribution token counts with the gain of its position; without one it counts as "none"."""
    stages = FakeStages()
    await stages.start()
    try:
        async with gateway(targets=stages.targets) as started, calling(started) as channel:
            stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
            registry = started.gateway.parts.metrics.registry
            answer = await stub.Search(gateway_pb2.SearchRequest(query="lamp"), timeout=2)
            shown, kind = [result.product.id for result in answer.results], event_pb2.EVENT_TYPE_CLICK
            token = answer.attribution_token
            clicks = [(shown[2], token), ("another", token), (shown[0], "")]
            events = [
                event_pb2.Event(event_id=f"e{n}", user_id="u", item_id=item, type=kind, attribution_token=token)
                for n, (item, token) in enumerate(clicks)
            ]
            await stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=2)

            def counted(attribution: str) -> float | None:
                return registry.get_sample_value("kairos_gateway_clicks_total", {"attribution": attribution})

            await until(lambda: [counted(name) for name in ("located", "attributed", "none")] == [1, 1, 1])
            # 1 / log2(1 + 3)
            assert registry.get_sample_value("kairos_gateway_click_gain_total") == 0.5
            assert registry.get_sample_value("kairos_gateway_events_total", {"type": "click"}) == 3
    finally:
        await stages.stop()
