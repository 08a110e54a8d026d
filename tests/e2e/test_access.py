"""What the suite leaves open on its machine: nothing for other machines, and for other users no data."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator

import grpc
import psutil
import pytest

from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from ops.processes import suite_members
from services.common.stage_access import SECRET_KEY
from tests.e2e.shop import Shop
from tests.e2e.suite import RunningSuite


def listening(suite: RunningSuite) -> Iterator[tuple[str, int, str]]:
    """(address, port, command) of each listening TCP socket of the suite's processes, from /proc/net/tcp and tcp6."""
    for process in suite_members(suite.data_dir):
        try:
            sockets, command = process.net_connections("tcp"), " ".join(process.cmdline())[:80]
        except psutil.Error:
            continue
        for connection in sockets:
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip, connection.laddr.port, command


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback


def answer(port: int, secret: str, application: str) -> tuple[grpc.StatusCode, str]:
    """Of a stage to a read of data, at this port."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = (("application", application), *(((SECRET_KEY, secret),) if secret else ()))
        try:
            if application == "ranker":
                request = ranker_pb2.GetProfileRequest(user_id="u1")
                ranker_pb2_grpc.RankerServiceStub(channel).GetProfile(request, timeout=3, metadata=metadata)
            else:
                quote = pricing_pb2.QuotePricesRequest()
                pricing_pb2_grpc.PricingServiceStub(channel).QuotePrices(quote, timeout=3, metadata=metadata)
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


def test_every_port_is_on_loopback(suite: RunningSuite) -> None:
    """No process of the suite listens on an address that other machines reach: not the gateway, the stages, HAProxy,
    nor Ray.
    """
    found = list(listening(suite))
    assert len(found) > 20
    assert [entry for entry in found if not is_loopback(entry[0])] == []


@pytest.mark.parametrize("application", ["ranker", "pricing"])
def test_stages_ask_for_the_secret(suite: RunningSuite, shop: Shop, application: str) -> None:
    """Every port of the suite that speaks gRPC refuses a stage call without the secret; with it, the ports of the
    ingress and of the replica answer.
    """
    secret = (suite.data_dir / "stage-secret").read_text().strip()
    assert stat.S_IMODE((suite.data_dir / "stage-secret").stat().st_mode) == 0o600
    ports = {port for _, port, _ in listening(suite)}
    refused = {port for port in ports if answer(port, "", application)[0] is grpc.StatusCode.UNAUTHENTICATED}
    without = {port: answer(port, "", application) for port in ports - refused}
    assert not [port for port, (code, _) in without.items() if code is grpc.StatusCode.OK]
    served = {port for port in refused if answer(port, secret, application)[0] is not grpc.StatusCode.UNAUTHENTICATED}
    assert len(served) >= 2
    assert int(suite.state.ingress.rsplit(":", 1)[1]) in served
