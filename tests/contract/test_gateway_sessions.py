"""Sessions: stored by the ranker, read by every gateway, never a reason to lose a search."""

from __future__ import annotations

import numpy as np
import pytest

from kairos.common.v1 import common_pb2, event_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from tests.contract.gateways import (
    BUDGET_S,
    HOWS,
    Running,
    degradations,
    ids,
    running,
    running_gateway,
    search,
    stages,
)
from tests.fakes.stages import MODEL, FakeStages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures


def vectors(rows: list[list[float]], model: str) -> common_pb2.Vectors:
    return vectors_to_proto(np.array(rows, np.float32), model)


def encoded(stages: FakeStages) -> encoder_pb2.EncodeQueryRequest:
    """The last query that the encoder got."""
    return [r for r in stages.encoder.requests if isinstance(r, encoder_pb2.EncodeQueryRequest) and r.text][-1]


def interests_asked(stages: FakeStages) -> list[ranker_pb2.GetInterestsRequest]:
    return [r for r in stages.ranker.requests if isinstance(r, ranker_pb2.GetInterestsRequest)]


def query_vector(stages: FakeStages) -> list[float]:
    """Of the last search in retrieval. The fake encoder's is [1, 0], and a session counts as much as the query."""
    asked = [r for r in stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest)][-1]
    vector: list[float] = vectors_from_proto(asked.query_vectors, "query_vectors")[0].tolist()
    return vector


async def test_a_session_across_gateways(stages: FakeStages) -> None:
    """The second query of a session is in the first one's context, whichever gateway takes it."""
    async with running_gateway(stages) as one, running_gateway(stages) as other:
        await one.stub.Search(search(session_id="s"), timeout=BUDGET_S)
        assert query_vector(stages) == [1, 0]
        stages.ranker.sessions["s"] = vectors([[0, 1]], MODEL)
        await other.stub.Search(search("boots", session_id="s"), timeout=BUDGET_S)
    assert encoded(stages).query_context.session_follows
    assert query_vector(stages) == pytest.approx([2**-0.5, 2**-0.5])


async def test_events_move_the_session(running: Running) -> None:
    """An interaction in a session is the context of the next query in it."""
    click = event_pb2.Event(event_id="e", visitor_id="v", session_id="s", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    await running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[click]))
    await running.stub.Search(search(session_id="s"), timeout=BUDGET_S)
    assert query_vector(running.stages) == pytest.approx([2 / 5**0.5, 1 / 5**0.5])


@pytest.mark.parametrize("session", [vectors([[0, 1]], "m@0"), vectors([[0, 1, 0]], MODEL), vectors([[0, 0]], MODEL)])
async def test_a_session_that_says_nothing(running: Running, session: common_pb2.Vectors) -> None:
    """A session of another model or of other dimensions, and one of zeros, leave the query as it is."""
    running.stages.ranker.sessions["s"] = session
    await running.stub.Search(search(session_id="s"), timeout=BUDGET_S)
    assert query_vector(running.stages) == [1, 0]


async def test_query_and_session_are_asked_at_the_same_time(running: Running) -> None:
    """The encoder is called before the session is there."""
    running.stages.ranker.sessions["s"] = vectors([[0, 1]], MODEL)
    answer = await running.stub.Search(search(session_id="s", explain=True), timeout=BUDGET_S)
    first, second = answer.timings[0], answer.timings[1]
    assert {first.stage, second.stage} == {common_pb2.STAGE_QUERY_ENCODER, common_pb2.STAGE_RANKER}
    assert max(first.start_ms, second.start_ms) < min(
        first.start_ms + first.latency_ms, second.start_ms + second.latency_ms
    )


async def test_without_a_session_nothing_is_asked(running: Running) -> None:
    """A search without a session, and browsing with one, cost no call for it."""
    await running.stub.Search(search(), timeout=BUDGET_S)
    await running.stub.Search(search("", session_id="s"), timeout=BUDGET_S)
    assert not interests_asked(running.stages)


@pytest.mark.parametrize("how", HOWS)
async def test_a_session_that_cannot_be_read(running: Running, how: str) -> None:
    """Ranker late, down or failing: the query is without the session, inside the budget, and it is reported."""
    await running.stages.worsen("ranker", how)
    answer = await running.within_budget(search(session_id="s"))
    assert degradations(answer) == [(3, "query without the session"), (3, "retrieval order")]
    assert query_vector(running.stages) == [1, 0]
    assert len(answer.results) == 5


async def test_a_late_session_takes_a_small_part(running: Running) -> None:
    """Waiting for the session takes at most `budget.stored_read` of the time."""
    await running.stages.worsen("ranker", "slow")
    answer = await running.stub.Search(search(session_id="s", explain=True), timeout=BUDGET_S)
    share = running.parts.settings.budget.stored_read
    assert answer.timings[0].latency_ms < 1.5 * share * BUDGET_S * 1e3


async def test_recommend_asks_once(running: Running) -> None:
    """One call gets interests, recent purchases and the session of user, visitor and session together."""
    message = gateway_pb2.RecommendRequest(user_id="u", visitor_id="v", session_id="s")
    await running.stub.Recommend(message, timeout=BUDGET_S)
    (asked,) = interests_asked(running.stages)
    assert (asked.user_id, asked.visitor_id, asked.session_id) == ("u", "v", "s")


async def test_recommend_to_a_visitor(running: Running) -> None:
    """A visitor's interests are used like a user's, and recent purchases are skipped."""
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(visitor_id="v", page_size=100), timeout=BUDGET_S)
    assert running.metric("recommendations_total", source="interests") == 1
    assert "p1" not in ids(answer)


async def test_recommend_by_the_session(stages: FakeStages) -> None:
    """Without user and visitor the session's context finds the candidates, from every gateway."""
    async with running_gateway(stages) as one, running_gateway(stages) as other:
        await one.stub.Search(search(session_id="s"), timeout=BUDGET_S)
        await other.stub.Recommend(gateway_pb2.RecommendRequest(session_id="s"), timeout=BUDGET_S)
        asked = [r for r in stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest)]
        assert [r for r in asked if r.HasField("query_vectors")][-1].query_vectors.values.shape == [1, 2]
        assert other.metric("recommendations_total", source="session") == 1


async def test_recommend_to_an_unknown_person(running: Running) -> None:
    """Without anything known, popular items are ranked as a slate; their positions are logged for every page."""
    await running.parts.popular_items.refresh("default")
    message = gateway_pb2.RecommendRequest(page_size=15)
    first = await running.stub.Recommend(message, timeout=BUDGET_S)
    (ranked,) = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest) and r.as_slate]
    assert list(ranked.candidates.ids)[:2] == ["p7", "p3"]
    assert ranked.candidate_source == ranker_pb2.CANDIDATE_SOURCE_POPULAR
    assert not interests_asked(running.stages)
    message.page_token = first.next_page_token
    await running.stub.Recommend(message, timeout=BUDGET_S)
    await until(lambda: len(running.stages.ranker.shown) == 2)
    assert [places for _, _, places in running.stages.ranker.shown] == [list(range(1, 16)), list(range(16, 26))]
