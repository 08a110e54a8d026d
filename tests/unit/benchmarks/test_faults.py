"""The proxy that disturbs a stage's calls, and the figures under a fault."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from benchmarks.faults import problems, whole_again_s
from benchmarks.faults_proxy import Disturbance, StageProxy, stage_proxy
from benchmarks.load_calls import Call, Calls

RANK, ENCODE = "/kairos.ranker.v1.RankerService/RankItems", "/kairos.encoder.v1.QueryEncoderService/EncodeQuery"


class EchoStages(grpc.GenericRpcHandler):
    """Every method answers its request and the metadata `application`, or refuses the request "refuse"."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if request == b"refuse":
                context.set_trailing_metadata((("detail-bin", b"why"),))
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
            return request + str(dict(context.invocation_metadata())["application"]).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def proxy() -> Iterator[StageProxy]:
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((EchoStages(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with stage_proxy(f"127.0.0.1:{port}") as running:
        yield running
    server.stop(None).wait()


def call(proxy: StageProxy, path: str, request: bytes = b"x", timeout_s: float = 5.0) -> bytes:
    with grpc.insecure_channel(proxy.target) as channel:
        method: Any = channel.unary_unary(path)
        answer: bytes = method(request, timeout=timeout_s, metadata=(("application", "ranker"),))
        return answer


def test_the_proxy_forwards_bytes_metadata_and_errors(proxy: StageProxy) -> None:
    """An undisturbed call has the answer and the error of the stage."""
    assert call(proxy, RANK) == b"xranker"
    with pytest.raises(grpc.RpcError) as refused:
        call(proxy, RANK, b"refuse")
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    trailing: Any = refused.value.trailing_metadata()
    assert dict(trailing)["detail-bin"] == b"why"


def test_only_the_named_stage_is_disturbed(proxy: StageProxy) -> None:
    """Failures, garbage and delays reach one stage, and end with the context."""
    with proxy.disturb(Disturbance(failing=1.0), "ranker"):
        with pytest.raises(grpc.RpcError) as failed:
            call(proxy, RANK)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert call(proxy, ENCODE) == b"xranker"
    with proxy.disturb(Disturbance(garbage=True), "ranker"):
        assert call(proxy, RANK) != b"xranker"
    with proxy.disturb(Disturbance(delay_s=10.0), "ranker"):
        began_s = time.monotonic()
        with pytest.raises(grpc.RpcError) as late:
            call(proxy, RANK, timeout_s=0.05)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began_s < 5.0
    assert call(proxy, RANK) == b"xranker"


def test_whole_again_is_read_from_the_last_degraded_answer() -> None:
    """The seconds count from the end of the fault to the last call without a whole answer."""
    late = [Call(0, due_s, 0.0, 0.1, degradations=("ranker late",)) for due_s in (10.1, 11.5)]
    after = Calls([*late, Call(0, 12.0, 0.0, 0.1)])
    assert whole_again_s(after, 10.0) == 1.5
    assert whole_again_s(after.between(12.0, 20.0), 10.0) == 0.0


def test_problems_name_what_does_not_hold() -> None:
    """Late answers, a slow recovery, and a degraded answer that does not name the stage."""
    good: dict[str, Any] = {
        "in_time_share": 1.0, "whole_again_s": 0.3, "stage": "ranker", "degradations": {"ranker late": 3},
    }  # fmt: skip
    assert problems(good) == []
    assert problems({**good, "degradations": {"pricing late": 1}}) == ["degradation named"]
    assert problems({**good, "in_time_share": 0.99, "whole_again_s": 2.5}) == ["in time", "whole again"]
