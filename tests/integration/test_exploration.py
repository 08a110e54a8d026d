"""Exploration in the real services: Search and Recommend show, log and explain what was drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import in_process_suite

BUDGET_S, SHARE, SIZE = 60.0, 0.9, 10

Stub: TypeAlias = gateway_pb2_grpc.GatewayServiceStub
Answer: TypeAlias = gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse
Ask: TypeAlias = Callable[[Stub, str], Answer]


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    folder = tmp_path_factory.mktemp("suite")
    with in_process_suite(folder, ranker={"informed_exploration": SHARE}) as suite:
        connection = Connection(suite.gateway_target)
        load_products(connection, folder, build_catalogue(size=120))
        with connection.stub() as made:
            yield made


def searched(stub: Stub, token: str = "") -> Answer:
    return stub.Search(
        gateway_pb2.SearchRequest(query="shoes", user_id="u", explain=True, page_size=SIZE, page_token=token),
        timeout=BUDGET_S,
    )


def recommended(stub: Stub, token: str = "") -> Answer:
    return stub.Recommend(
        gateway_pb2.RecommendRequest(user_id="u", explain=True, page_size=SIZE, page_token=token), timeout=BUDGET_S
    )


def ids(answer: Answer) -> list[str]:
    return [result.product.id for result in answer.results]


def impression(stub: Stub, item_ids: list[str]) -> event_pb2.Impressions:
    """The logged page that shows these items; it is logged after the answer."""
    deadline, token = time.monotonic() + BUDGET_S, ""
    while time.monotonic() < deadline:
        request = gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS, page_token=token)
        page = stub.ReadLog(request, timeout=BUDGET_S)
        token = page.next_page_token
        for each in page.impressions:
            if list(each.item_ids) == item_ids:
                return each
        time.sleep(0.05)
    raise TimeoutError("the page was not logged")


@pytest.mark.parametrize(("ask", "kept"), [(searched, 3), (recommended, 0)])
def test_what_is_drawn_is_logged_and_explained(stub: Stub, ask: Ask, kept: int) -> None:
    """Answers differ from place 4 of a search, and from place 1 of a recommendation, on. The second page continues the
    order of the first one. Drawn products say so, and the log has propensities below 1 for the explored places.
    """
    event = event_pb2.Event(event_id="e", user_id="u", item_id=ids(searched(stub))[0], type=event_pb2.EVENT_TYPE_CLICK)
    stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[event]), timeout=BUDGET_S)
    answers = [ask(stub, "") for _ in range(6)]
    assert len({tuple(ids(answer)) for answer in answers}) > 1
    assert len({tuple(ids(answer)[:kept]) for answer in answers}) == 1
    for answer in answers:
        rules = [{rule.type for rule in result.explanation.rules} for result in answer.results]
        assert any(gateway_pb2.RULE_TYPE_EXPLORATION in fired for fired in rules)
        assert not any(gateway_pb2.RULE_TYPE_EXPLORATION in fired for fired in rules[:kept])
    second = ask(stub, answers[-1].next_page_token)
    assert not second.degradations
    assert not set(ids(second)) & set(ids(answers[-1]))

    shown = impression(stub, ids(answers[-1]))
    assert list(shown.propensities[:kept]) == [1] * kept
    assert all(0 < each < 1 for each in shown.propensities[kept:])
