"""Two gateways over one suite: a second gateway misses nothing, and the death of one loses nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.stage_access import SECRET_KEY
from tests.e2e.shop import BUDGET_S, Shop, clicks, new_user
from tests.e2e.suite import STAGES, RunningSuite, eventually

Stub = gateway_pb2_grpc.GatewayServiceStub
_START_S = 60.0


def serves(channel: grpc.Channel) -> bool:
    try:
        # The stubs of grpc_health know no methods.
        answer = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
            health_pb2.HealthCheckRequest(service=""), timeout=2, wait_for_ready=True
        )
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def ingress_answers(suite: RunningSuite) -> bool:
    """Whether the ranker can be reached at the ingress: the suite's own gateway calls the replicas past it."""
    secret = (suite.data_dir / "stage-secret").read_text().split()[0]
    with grpc.insecure_channel(suite.state.ingress) as channel:
        rank: Any = channel.unary_unary("/kairos.ranker.v1.RankerService/RankItems")
        try:
            rank(b"", timeout=2, metadata=(("application", "ranker"), (SECRET_KEY, secret)))
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return False


@pytest.fixture
def second(suite: RunningSuite, shop: Shop, tmp_path: Path) -> Iterator[Stub]:
    """A gateway of its own process over the stages of the running suite."""
    eventually("the ingress reaches the ranker", _START_S, lambda: ingress_answers(suite))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "KAIROS_GATEWAY_SERVER__PORT": str(port),
        "KAIROS_GATEWAY_METRICS__PORT": "0",
        "KAIROS_STAGE_ACCESS_SECRET_FILE": str(suite.data_dir / "stage-secret"),
        **{f"KAIROS_GATEWAY_STAGES__{stage.upper()}__TARGET": suite.state.ingress for stage in STAGES},
        **{key: value for key, value in suite.settings.items() if key.startswith("KAIROS_GATEWAY_SECURITY")},
    }
    with (tmp_path / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment, stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            eventually("the second gateway serves", _START_S, lambda: serves(channel))
            yield Stub(channel)
    finally:
        process.terminate()
        process.wait()


def page_of(answer: gateway_pb2.SearchResponse) -> list[tuple[str, int, float]]:
    assert not answer.degradations, answer.degradations
    return [(result.product.id, result.position, round(result.score, 4)) for result in answer.results]


def test_the_other_gateway_continues(suite: RunningSuite, shop: Shop, second: Stub) -> None:
    """Page 2 and a session's context are the same from either gateway, also after kill -9 of the first."""
    user, session = new_user(), uuid.uuid4().hex
    first_page = gateway_pb2.SearchRequest(query="shoes", user_id=user, page_size=5)
    token = shop.stub.Search(first_page, timeout=BUDGET_S).next_page_token
    later = gateway_pb2.SearchRequest(query="shoes", user_id=user, page_size=5, page_token=token)
    other_visitor = uuid.uuid4().hex
    events = clicks("", [product.id for product in shop.products[:3]])
    for event in events:
        event.visitor_id, event.session_id = other_visitor, session
    shop.record(events)
    in_session = gateway_pb2.RecommendRequest(session_id=session, page_size=10)

    def answers(stub: Stub) -> tuple[list[tuple[str, int, float]], int, set[str]]:
        page = stub.Search(later, timeout=BUDGET_S)
        session_items = stub.Recommend(in_session, timeout=BUDGET_S)
        assert not session_items.degradations, session_items.degradations
        return page_of(page), page.total_size, {result.product.id for result in session_items.results}

    here, total, items = answers(shop.stub)
    assert [position for _, position, _ in here] == [6, 7, 8, 9, 10]
    there = answers(second)
    assert there[:2] == (here, total)
    # Some places of a recommendation are explored: most of the products are the same, by the session's context.
    assert len(there[2] & items) >= 6
    nobody = second.Recommend(gateway_pb2.RecommendRequest(page_size=10), timeout=BUDGET_S)
    assert {result.product.id for result in nobody.results} != there[2]
    suite.kill("gateway")
    assert answers(second)[:2] == (here, total)
    with grpc.insecure_channel(suite.state.gateway) as channel:
        eventually("the first gateway serves again", _START_S, lambda: serves(channel))
        again = answers(Stub(channel))
    assert again[:2] == (here, total)
    assert len(again[2] & items) >= 6
