"""kill -9, service by service: the answers meanwhile, the way back, and what must not be lost."""

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

# What a minute, and the clicks of others, may change of a product's score; one's own clicks on it add 0.3 and more.
_SAME_SCORE = 0.03
_STAGES = {
    "query_encoder": common_pb2.STAGE_QUERY_ENCODER,
    "retrieval": common_pb2.STAGE_RETRIEVAL,
    "ranker": common_pb2.STAGE_RANKER,
    "pricing": common_pb2.STAGE_PRICING,
}


@pytest.fixture
def writer(shop: Shop) -> Iterator[Writer]:
    """Not yet at work; what it imported is gone afterwards."""
    writer = Writer(shop)
    yield writer
    shop.delete(writer.tried)
    assert shop.total() == len(shop.products)


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service(suite: RunningSuite, shop: Shop, writer: Writer, service: str) -> None:
    """While it is down Search still answers and says what it gave up; it comes back by itself; nothing is lost."""
    known, fresh = new_user(), new_user()
    before = shop.search(QUERY, known)
    clicked, others = ([result.product.id for result in before.results[place:][:3]] for place in (-3, -6))
    shop.record(clicks(known, clicked, before.attribution_token))
    kept, quoted = shop.search(QUERY, known), shop.quote(clicked)
    last = clicks(fresh, others, before.attribution_token)

    with writer:
        eventually("writes are acknowledged", 20, lambda: len(writer.product_ids) >= 20 and len(writer.events) >= 20)
        killed = suite.pids(service)
        # Acknowledged, and the very next thing is the end of the process.
        assert shop.record(last).recorded_count == len(last)
        outage = _kill(killed, shop)
    assert killed
    assert not set(suite.pids(service)) & set(killed)

    if service == "gateway":
        # The client's own connection comes back.
        assert set(outage.errors) == {grpc.StatusCode.UNAVAILABLE}
    else:
        assert (outage.errors, outage.empty) == ([], 0)
        assert _STAGES[service] in outage.degraded

    assert writer.unexpected == []
    assert shop.missing([*writer.product_ids, *(product.id for product in shop.products)]) == []
    assert shop.are_recorded([*last, *writer.events])
    assert len(suite.audited([quote.quote_id for quote in quoted.quotes])) == len(clicked)
    after = shop.search(QUERY, known)
    assert _rose(before, after, clicked)
    assert _rose(before, shop.search(QUERY, fresh), others)
    scores = {result.product.id: result.score for result in after.results}
    assert all(abs(scores[result.product.id] - result.score) < _SAME_SCORE for result in kept.results[:10])


@pytest.mark.skipif(not has_haproxy(), reason="without HAProxy's wheel Serve's own proxy is the ingress")
def test_a_killed_ingress(suite: RunningSuite, shop: Shop) -> None:
    """Without HAProxy no stage can be reached: Search answers with what the gateway remembers until it is back."""
    outage = _kill(suite.pids("haproxy"), shop)
    assert (outage.errors, outage.empty) == ([], 0)
    assert {common_pb2.STAGE_QUERY_ENCODER, common_pb2.STAGE_RETRIEVAL, common_pb2.STAGE_PRICING} <= outage.degraded


def _kill(pids: Sequence[int], shop: Shop) -> Outage:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    outage = Outage()
    outage.watch(shop)
    return outage


def _rose(before: gateway_pb2.SearchResponse, after: gateway_pb2.SearchResponse, ids: Sequence[str]) -> bool:
    """Whether all of them stand higher, by more than time and other shoppers' clicks can do."""
    old, new = ({result.product.id: result for result in answer.results} for answer in (before, after))
    return all(
        id in new and new[id].position < old[id].position and new[id].score > old[id].score + 5 * _SAME_SCORE
        for id in ids
    )
