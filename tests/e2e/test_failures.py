"""Each service is killed with SIGKILL: the answers meanwhile, the recovery, and the data that must survive."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

import grpc
import pytest

from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.hosting import has_haproxy
from tests.e2e.outage import QUERY, Outage
from tests.e2e.shop import Shop, Writer, clicks, new_user
from tests.e2e.suite import SERVICES, RunningSuite, eventually

# Largest score change by a minute's passing and other users' clicks; a user's own clicks add at least 0.3.
_SAME_SCORE = 0.03
_STAGES = {
    "query_encoder": common_pb2.STAGE_QUERY_ENCODER,
    "retrieval": common_pb2.STAGE_RETRIEVAL,
    "ranker": common_pb2.STAGE_RANKER,
    "pricing": common_pb2.STAGE_PRICING,
}


@pytest.fixture
def writer(shop: Shop) -> Iterator[Writer]:
    """A writer that has not started. Its imported products are deleted at the end."""
    writer = Writer(shop)
    yield writer
    shop.delete(writer.tried)
    assert shop.total() == len(shop.products)


# Searches call neither the auction, without campaigns, nor the assistant: tests/contract/test_gateway_sponsored.py and
# test_gateway_conversations.py have their failures.
@pytest.mark.parametrize("service", [service for service in SERVICES if service not in ("sponsored", "assistant")])
def test_a_killed_service(suite: RunningSuite, shop: Shop, writer: Writer, service: str) -> None:
    """Search still answers and names the missing stage; the service recovers by itself; no data is lost."""
    known, fresh = new_user(), new_user()
    before = shop.search(QUERY, known)
    clicked, others = ([result.product.id for result in before.results[place:][:3]] for place in (-3, -6))
    shop.click(known, clicked, before.attribution_token)
    kept, quoted = shop.search(QUERY, known), shop.quote(clicked)
    last = clicks(fresh, others, before.attribution_token)

    with writer:
        eventually("writes are acknowledged", 20, lambda: len(writer.product_ids) >= 20 and len(writer.events) >= 20)
        killed = suite.pids(service)
        # The process is killed directly after the acknowledgement.
        assert shop.record(last).recorded_count == len(last)
        outage = _kill(killed, shop)
    assert killed
    assert not set(suite.pids(service)) & set(killed)

    if service == "gateway":
        # The client reconnects.
        assert set(outage.errors) == {grpc.StatusCode.UNAVAILABLE}
    else:
        assert (outage.errors, outage.empty) == ([], 0)
        assert _STAGES[service] in outage.degraded

    assert writer.unexpected == []
    assert shop.missing([*writer.product_ids, *(product.id for product in shop.products)]) == []
    assert shop.are_recorded([*last, *writer.events])
    suite.are_on_record([quote.quote_id for quote in quoted.quotes])
    after = shop.search(QUERY, known)
    assert _rose(before, after, clicked)
    assert _rose(before, shop.search(QUERY, fresh), others)
    scores = {result.product.id: result.score for result in after.results}
    assert all(abs(scores[result.product.id] - result.score) < _SAME_SCORE for result in kept.results[:10])


def test_control_is_killed(suite: RunningSuite, shop: Shop) -> None:
    """Prices are quoted while control is down, and are on record when it is back."""
    killed = suite.kill("control")
    quotes = [quote for _ in range(5) for quote in shop.quote([shop.products[0].id]).quotes]
    assert all(quote.quote_id for quote in quotes)
    assert not shop.search(QUERY).degradations
    eventually("control is restarted", 60, lambda: set(suite.pids("control")) - set(killed))
    suite.are_on_record([quote.quote_id for quote in quotes])


@pytest.mark.skipif(not has_haproxy(), reason="without HAProxy's wheel Serve's own proxy is the ingress")
def test_a_killed_ingress(suite: RunningSuite, shop: Shop) -> None:
    """The gateway calls the replicas directly: while HAProxy is dead and comes back, no answer lacks a stage."""
    assert not shop.search(QUERY).degradations
    killed = set(suite.kill("haproxy"))
    degraded: list[common_pb2.Degradation] = []

    def is_back() -> bool:
        degraded.extend(shop.search(QUERY).degradations)
        return bool(set(suite.pids("haproxy")) - killed)

    eventually("HAProxy is restarted", 90, is_back)
    assert not degraded


def _kill(pids: Sequence[int], shop: Shop) -> Outage:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    outage = Outage()
    outage.watch(shop)
    return outage


def _rose(before: gateway_pb2.SearchResponse, after: gateway_pb2.SearchResponse, ids: Sequence[str]) -> bool:
    """Whether all of them rank higher, with a score increase larger than time and other shoppers can cause."""
    old, new = ({result.product.id: result for result in answer.results} for answer in (before, after))
    return all(
        id in new and new[id].position < old[id].position and new[id].score > old[id].score + 5 * _SAME_SCORE
        for id in ids
    )
