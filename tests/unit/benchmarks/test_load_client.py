"""The client of the load benchmarks, against a server over gRPC."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from benchmarks.load_calls import Call, Offer
from benchmarks.load_client import make_calls
from benchmarks.load_traffic import SEARCH, SERVICE, Arrival
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2

STALL_S = 0.1
LATE = common_pb2.Degradation(stage=common_pb2.STAGE_RANKER, reason=common_pb2.DEGRADATION_REASON_LATE)


def search(request: gateway_pb2.SearchRequest, context: grpc.ServicerContext) -> gateway_pb2.SearchResponse:
    """Answers by the text of the query; "stall" takes a tenth of a second."""
    if request.query == "stall":
        time.sleep(STALL_S)
    if request.query == "full":
        status = status_pb2.Status(code=8)
        status.details.add().Pack(error_details_pb2.RetryInfo())
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    return gateway_pb2.SearchResponse(degradations=[LATE] if request.query == "degraded" else [])


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A server that answers one call at a time."""
    server = grpc.server(ThreadPoolExecutor(1))
    method = grpc.unary_unary_rpc_method_handler(
        search, gateway_pb2.SearchRequest.FromString, gateway_pb2.SearchResponse.SerializeToString
    )
    service = SERVICE.strip("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Search": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def offer(target: str, *queries: str, in_flight: int = 0) -> Offer:
    """All calls are due at once."""
    arrivals = [Arrival(0.0, 0, gateway_pb2.SearchRequest(query=query).SerializeToString()) for query in queries]
    return Offer(target, SEARCH, arrivals, budget_s=10.0, in_flight=in_flight, seconds=10.0)


def ended(offer: Offer) -> list[Call]:
    return sorted(make_calls(offer, threading.Event()).ended, key=lambda call: call.latency_s)


def test_a_stall_shows_in_every_call_that_was_due(target: str) -> None:
    """Open loop: a call that waits behind others has the whole wait in its latency."""
    found = ended(offer(target, "stall", "stall", "stall"))
    assert all(call.latency_s >= (place + 1) * STALL_S for place, call in enumerate(found))
    assert all(call.whole for call in found)


def test_a_closed_loop_waits_for_the_answer(target: str) -> None:
    """Closed loop: the next call is due when the one before has been answered."""
    found = make_calls(offer(target, "stall", "stall", in_flight=1), threading.Event()).ended
    assert found[1].due_s >= STALL_S
    assert [call.lag_s < STALL_S for call in found] == [True, True]


def test_outcomes_are_read_from_the_answer(target: str) -> None:
    """Degradations are named by stage and reason, a refusal says whether it had RetryInfo."""
    by_outcome = {(call.code, call.degradations, call.retry_info) for call in ended(offer(target, "degraded", "full"))}
    assert by_outcome == {("OK", ("ranker late",), False), ("RESOURCE_EXHAUSTED", (), True)}


def test_nothing_is_sent_after_the_stop(target: str) -> None:
    """A stopped offer ends with the calls that were sent before."""
    stop = threading.Event()
    stop.set()
    assert make_calls(offer(target, "kettle"), stop).ended == []
