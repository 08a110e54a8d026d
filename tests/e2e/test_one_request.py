"""One request, traced through every service that handles it."""

from __future__ import annotations

import json
import uuid

from tests.e2e.collector import Collector
from tests.e2e.shop import Shop
from tests.e2e.suite import RunningSuite, eventually


def test_one_request_id_in_log_and_record(suite: RunningSuite, shop: Shop) -> None:
    """The caller's request id is in the answer, in the gateway's log and at each quote that control has on record."""
    request_id = f"order-{uuid.uuid4().hex}"
    answer = shop.search("coffee maker", metadata=[("x-request-id", request_id)])
    assert answer.request_id == request_id
    lines = [json.loads(line) for line in suite.log("gateway").splitlines() if request_id in line]
    # On a busy machine there may be a line about a step that held the event loop.
    calls = [line for line in lines if line["event"] == "call"]
    assert [(line["method"], line["code"]) for line in calls] == [("Search", "OK")]
    quotes = [result.price.quote_id for result in answer.results]
    suite.are_on_record(quotes)
    assert set(suite.audited(quotes).values()) == {request_id}


def test_one_trace_through_all_services(shop: Shop, collector: Collector) -> None:
    """A traced call has spans of the gateway and of all four stages under the caller's own trace id."""
    trace_id = uuid.uuid4().hex
    shop.search("coffee maker", metadata=[("traceparent", f"00-{trace_id}-{uuid.uuid4().hex[:16]}-01")])
    expected = {
        ("kairos-gateway", "Search"),
        ("kairos-query_encoder", "EncodeQuery"),
        ("kairos-retrieval", "RetrieveCandidates"),
        ("kairos-ranker", "RankItems"),
        ("kairos-pricing", "QuotePrices"),
    }
    eventually(f"spans of {trace_id}", 20, lambda: expected <= collector.of_trace(trace_id))
    # The suite traces only calls that the caller traces.
    assert {trace for _, _, trace in collector.spans} == {trace_id}
