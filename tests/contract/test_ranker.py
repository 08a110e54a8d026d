"""RankerService over real gRPC with its SQLite store, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest

from kairos.common.v1 import common_pb2, event_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.person import person_key
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.contract.refusals import refusal
from tests.contract.serving import process

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MODEL = "m@1"
USER = person_key("u", "")
# Two kinds of items, boots and lamps. Retrieval scores lamps slightly higher, and a desk far lower.
VECTORS = {"lamp1": (0.0, 1.0), "lamp2": (0.1, 1.0), "boot1": (1.0, 0.0), "boot2": (1.0, 0.1), "desk": (-1.0, 0.0)}
SCORES = {"lamp1": 1.0, "lamp2": 0.95, "boot1": 0.9, "boot2": 0.85, "desk": 0.0}
BASELINES = ("popularity", "retrieval-order", "nearest-to-mean", "shuffle")

# In quotes: only the stubs' type files know this name.
Stub: TypeAlias = "ranker_pb2_grpc.RankerServiceAsyncStub"


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Stub]:
    handler, server = build_handler(RankerSettings(data_dir=folder, **settings)), grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ranker_pb2_grpc.RankerServiceStub(channel)
    await server.stop(None)
    handler.close()


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path) as running:
        yield running


def candidates(ids: Sequence[str] = tuple(VECTORS), **columns: Any) -> retrieval_pb2.Candidates:
    made = {
        "scores": [SCORES[id] for id in ids],
        "prices": [50.0] * len(ids),
        "stocks": [-1] * len(ids),
        "categories": ["Boots" if id.startswith("boot") else "Lamps" for id in ids],
        "brands": ["B"] * len(ids),
        "vectors": vectors_to_proto(np.array([VECTORS[id] for id in ids], np.float16), MODEL) if ids else None,
    }
    return retrieval_pb2.Candidates(ids=ids, **(made | columns))  # type: ignore[arg-type]


def event(event_id: str, item_id: str, kind: str = "CLICK", age_s: float = 0.0, **fields: Any) -> event_pb2.Event:
    made = event_pb2.Event(
        event_id=event_id, user_id="u", item_id=item_id, type=event_pb2.EventType.Value(f"EVENT_TYPE_{kind}"), **fields
    )
    made.occurred_at.FromNanoseconds(int((time.time() - age_s) * 1e9))
    return made


def recording(*events: event_pb2.Event, tenant: str = "") -> ranker_pb2.RecordEventsRequest:
    context = common_pb2.RequestContext(request_id="r", tenant=tenant)
    return ranker_pb2.RecordEventsRequest(context=context, events=events, items=candidates())


def ranking(
    user: str = "u", tenant: str = "", explain: bool = False, ranking_id: str = "", **columns: Any
) -> ranker_pb2.RankItemsRequest:
    return ranker_pb2.RankItemsRequest(
        context=common_pb2.RequestContext(request_id="r", tenant=tenant), user_id=user, explain=explain,
        ranking_id=ranking_id, candidates=candidates(**columns),
    )  # fmt: skip


def impressions_of(ranking_id: str, *positions: int) -> ranker_pb2.RecordImpressionsRequest:
    shown = ranker_pb2.ShownPositions(ranking_id=ranking_id, positions=positions)
    return ranker_pb2.RecordImpressionsRequest(shown=[shown])


async def order(stub: Stub, user: str = "u", tenant: str = "") -> list[str]:
    return list((await stub.RankItems(ranking(user, tenant))).item_ids)


async def test_clicks_change_the_next_order(stub: Stub) -> None:
    """The next ranking after an acknowledged click puts items similar to the clicked item first."""
    assert await order(stub) == list(VECTORS)
    answer = await stub.RecordEvents(recording(event("e1", "boot2")))
    assert (answer.recorded_count, answer.duplicate_count) == (1, 0)
    ranked = await stub.RankItems(ranking())
    assert list(ranked.item_ids)[:2] == ["boot1", "boot2"]
    assert ranked.history_size == 1
    assert ranked.model_version == "weighted-sum@3"


async def test_the_answer_is_the_candidates(stub: Stub) -> None:
    """The response has exactly the candidates' ids, best first, each with score, task value and propensity."""
    await stub.RecordEvents(recording(event("e1", "boot2")))
    ranked = await stub.RankItems(ranking())
    assert sorted(ranked.item_ids) == sorted(VECTORS)
    assert list(ranked.scores) == sorted(ranked.scores, reverse=True)
    assert [(task.task, list(task.values)) for task in ranked.task_scores] == [("relevance", list(ranked.scores))]
    assert list(ranked.propensities) == [1.0] * 5
    assert not ranked.reasons


async def test_reasons_add_up_and_name_the_history(stub: Stub) -> None:
    """Each item's reasons sum to score less baseline, largest first; the history reason names its items."""
    await stub.RecordEvents(recording(event("e1", "boot2")))
    ranked = await stub.RankItems(ranking(explain=True))
    for score, reasons in zip(ranked.scores, ranked.reasons, strict=True):
        parts = [reason.contribution for reason in reasons.reasons]
        assert sum(parts) == pytest.approx(score - reasons.baseline, abs=1e-5)
        assert parts == sorted(parts, reverse=True)
    by_item = dict(zip(ranked.item_ids, ranked.reasons, strict=True))
    history = ranker_pb2.REASON_TYPE_RECENT_HISTORY
    said = {id: [list(r.history_item_ids) for r in by_item[id].reasons if r.type == history] for id in VECTORS}
    assert said == {"boot1": [["boot2"]], "boot2": [["boot2"]], "lamp1": [], "lamp2": [], "desk": []}


async def test_the_same_event_twice(stub: Stub) -> None:
    """An event id counts once within a batch and across batches; the ranking is that of one event."""
    first = event("e1", "boot2")
    answer = await stub.RecordEvents(recording(first, first))
    assert (answer.recorded_count, answer.duplicate_count) == (1, 1)
    before = await stub.RankItems(ranking())
    again = await stub.RecordEvents(recording(first))
    assert (again.recorded_count, again.duplicate_count) == (0, 1)
    after = await stub.RankItems(ranking())
    assert list(after.item_ids) == list(before.item_ids)
    assert after.history_size == before.history_size == 1
    popular = await stub.ListPopularItems(ranker_pb2.ListPopularItemsRequest())
    assert popular.scores[0] == pytest.approx(1, abs=1e-3)


async def test_late_events_are_ordered(tmp_path: Path) -> None:
    """The same events in any order of arrival, one by one or in one batch, give the same scores."""
    events = [event("e1", "lamp1", age_s=7_200), event("e2", "boot1", "CART", 600), event("e3", "boot2", "CLICK", 10)]
    scores = []
    for number, batches in enumerate(
        ([events], [[entry] for entry in events], [[entry] for entry in reversed(events)])
    ):
        async with serving(tmp_path / str(number)) as stub:
            for batch in batches:
                await stub.RecordEvents(recording(*batch))
            ranked = await stub.RankItems(ranking())
            scores.append(dict(zip(ranked.item_ids, ranked.scores, strict=True)))
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[2] == pytest.approx(scores[0], abs=1e-4)


async def test_an_old_click_weighs_less(stub: Stub) -> None:
    """A late event with last month's time does not outweigh a click of this minute."""
    await stub.RecordEvents(recording(event("e1", "boot2")))
    await stub.RecordEvents(recording(event("e0", "lamp1", age_s=30 * 86_400)))
    assert (await order(stub))[0].startswith("boot")


async def test_recorded_events_survive_a_restart(tmp_path: Path) -> None:
    """A service that is restarted on the same folder gives the same ranking."""
    async with serving(tmp_path) as stub:
        await stub.RecordEvents(recording(event("e1", "boot2")))
        before = await order(stub)
    async with serving(tmp_path) as stub:
        assert await order(stub) == before
    assert before[0].startswith("boot")


async def test_acknowledged_events_survive_kill_9(tmp_path: Path) -> None:
    """A ranker killed by SIGKILL between two batches still has every acknowledged event with its item."""
    acknowledged: list[str] = []
    with process("ranker", tmp_path) as (running, address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Stub = ranker_pb2_grpc.RankerServiceStub(channel)

            async def record() -> None:
                for number in range(1_000):
                    await stub.RecordEvents(recording(event(f"e{number}", "boot1")))
                    acknowledged.append(f"e{number}")
                    if number == 20:
                        running.send_signal(signal.SIGKILL)

            with pytest.raises(grpc.aio.AioRpcError):
                await record()
        assert running.wait() == -signal.SIGKILL
    store = SqliteProfileStore(tmp_path)
    history = store.events_after("default", 0, 1_000, USER)
    features = [entry.features for entry in store.user_history("default", USER).recent]
    store.close()
    # The event in flight during the kill may be recorded too.
    assert len(acknowledged) <= len(history) <= len(acknowledged) + 1
    assert len(acknowledged) >= 21
    assert all(features)


async def test_unknown_users_get_retrievals_order(stub: Stub) -> None:
    """Users without a history, and requests without a user, get retrieval's order."""
    await stub.RecordEvents(recording(event("e1", "boot2", "SEARCH")))
    for user in ("stranger", ""):
        ranked = await stub.RankItems(ranking(user))
        assert list(ranked.item_ids) == list(VECTORS)
        assert ranked.history_size == 0


@pytest.mark.parametrize("ranker", ["weighted-sum", "retrieval-order"])
async def test_products_of_the_type(tmp_path: Path, ranker: str) -> None:
    """They are first for a stranger, and among them a history counts as much as if nothing had been added."""
    gains = {id: 1.01 if id in ("boot1", "boot2", "lamp2") else 0.0 for id in VECTORS}
    scores = [SCORES[id] + gain for id, gain in gains.items()]
    raised: dict[str, Any] = {"scores": scores, "type_gains": list(gains.values())}
    async with serving(tmp_path, ranker=ranker) as stub:
        await stub.RecordEvents(recording(event("e1", "boot2")))
        stranger = await stub.RankItems(ranking("", **raised))
        plain, typed = await stub.RankItems(ranking()), await stub.RankItems(ranking(**raised))
    assert list(stranger.item_ids) == ["lamp2", "boot1", "boot2", "lamp1", "desk"]

    def lead(answer: ranker_pb2.RankItemsResponse) -> float:
        scores = dict(zip(answer.item_ids, answer.scores, strict=True))
        return scores["boot2"] - scores["lamp2"]

    assert lead(typed) == pytest.approx(lead(plain), abs=1e-5)


async def test_tenants_are_isolated(stub: Stub) -> None:
    """A user's events in one tenant change nothing in another, even with the same ids."""
    await stub.RecordEvents(recording(event("e1", "boot2"), tenant="one"))
    assert (await order(stub, tenant="one"))[0].startswith("boot")
    assert (await order(stub, tenant="other"))[0] == "lamp1"
    assert (await stub.RecordEvents(recording(event("e1", "boot2"), tenant="other"))).recorded_count == 1


@pytest.mark.parametrize("ranker", BASELINES)
async def test_baselines_have_the_same_contract(tmp_path: Path, ranker: str) -> None:
    """Each baseline returns the same ids, ordered scores, its own name, and reasons on request."""
    async with serving(tmp_path, ranker=ranker) as stub:
        await stub.RecordEvents(recording(event("e1", "boot2", "PURCHASE")))
        ranked = await stub.RankItems(ranking(explain=True))
    assert sorted(ranked.item_ids) == sorted(VECTORS)
    assert list(ranked.scores) == sorted(ranked.scores, reverse=True)
    assert ranked.model_version == f"{ranker}@3"
    assert len(ranked.reasons) == 5
    expected = {"popularity": "boot2", "retrieval-order": "lamp1", "nearest-to-mean": "boot2"}
    assert ranked.item_ids[0] == expected.get(ranker, ranked.item_ids[0])


async def test_popular_items_by_category(stub: Stub) -> None:
    """The most popular item comes first, a purchase counts more than a click; a category restricts the items."""
    events = [event("e1", "lamp1"), event("e2", "boot1", "PURCHASE"), event("e3", "lamp2", "CART")]
    await stub.RecordEvents(recording(*events))
    whole = await stub.ListPopularItems(ranker_pb2.ListPopularItemsRequest())
    assert list(whole.item_ids) == ["boot1", "lamp2", "lamp1"]
    lamps = await stub.ListPopularItems(ranker_pb2.ListPopularItemsRequest(category="Lamps", limit=1))
    assert list(lamps.item_ids) == ["lamp2"]


async def test_interests(stub: Stub) -> None:
    """Two kinds of clicked items give two interests: unit vectors whose weights sum to 1."""
    unknown = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))
    assert not unknown.HasField("interests")
    await stub.RecordEvents(recording(event("e1", "boot1", "PURCHASE"), event("e2", "lamp1")))
    found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))
    np.testing.assert_allclose(vectors_from_proto(found.interests, "interests"), [[1, 0], [0, 1]], atol=1e-3)
    assert sum(found.weights) == pytest.approx(1)


async def profile(stub: Stub, user: str = "u") -> profile_pb2.UserProfile:
    return (await stub.GetProfile(ranker_pb2.GetProfileRequest(user_id=user))).profile


async def test_a_profile_has_all_acknowledged_events(stub: Stub) -> None:
    """A profile has acknowledged events at once: sequence, vectors, interests, prices, purchases."""
    events = [
        event("e1", "boot1", "PURCHASE", 60),
        event("e2", "lamp1", "CLICK", 5),
        event("e3", "", "SEARCH", query="desk"),
    ]
    await stub.RecordEvents(recording(*events, event("e4", "lamp2", "IMPRESSION")))
    known = await profile(stub)
    assert [(entry.event_id, entry.item_id, entry.query) for entry in known.recent] == [
        ("e3", "", "desk"), ("e2", "lamp1", ""), ("e1", "boot1", ""),
    ]  # fmt: skip
    assert [entry.price for entry in known.recent] == [0, 50, 50]
    assert known.recent_vectors.values.dtype == common_pb2.DATA_TYPE_FLOAT16
    np.testing.assert_allclose(
        vectors_from_proto(known.recent_vectors, "recent"), [[0, 0], VECTORS["lamp1"], VECTORS["boot1"]]
    )
    assert {entry.event_id for entry in known.lasting} == {"e1", "e2"}
    assert [list(interest.item_ids) for interest in known.interests] == [["boot1"], ["lamp1"]]
    assert sum(interest.share for interest in known.interests) == pytest.approx(1)
    assert {taste.category: round(taste.typical_price) for taste in known.price_affinities} == {
        "Boots": 50,
        "Lamps": 50,
    }
    assert [(one.item_id, one.day_count, one.recommendable) for one in known.purchases] == [("boot1", 1, False)]
    assert list(known.shown_item_ids) == ["lamp2"]


async def test_an_unknown_users_profile_is_empty(stub: Stub) -> None:
    """A user without a history has an empty profile and an empty export."""
    assert await profile(stub, "stranger") == profile_pb2.UserProfile(user_id="stranger")
    exported = await stub.ExportUser(ranker_pb2.ExportUserRequest(user_id="stranger"))
    assert (len(exported.events), len(exported.impressions), exported.next_page_token) == (0, 0, "")


async def exported(stub: Stub, size: int = 3, **person: Any) -> ranker_pb2.ExportUserResponse:
    """All pages of an export, joined."""
    whole, token = ranker_pb2.ExportUserResponse(), ""
    while True:
        page = await stub.ExportUser(ranker_pb2.ExportUserRequest(page_size=size, page_token=token, **person))
        assert len(page.events) + len(page.impressions) + len(page.rankings) <= size
        assert page.HasField("profile") == (not token)
        whole.MergeFrom(page)
        token = page.next_page_token
        if not token:
            return whole


async def test_an_export_has_everything(stub: Stub) -> None:
    """All pages together hold the events as sent, in the order of recording, and then the impressions."""
    events = [event(f"e{n}", "boot1", "CART", 10 - n, session_id="s", query="q", quantity=2) for n in range(5)]
    await stub.RecordEvents(recording(*events))
    for n in range(4):
        await stub.RankItems(ranking(ranking_id=f"r{n}"))
        await stub.RecordImpressions(impressions_of(f"r{n}", 1))
    await stub.RankItems(ranking("other", ranking_id="r9"))
    await stub.RecordImpressions(impressions_of("r9", 1))
    whole = await exported(stub, user_id="u")
    assert [entry.ranking_id for entry in whole.impressions] == ["r0", "r1", "r2", "r3"]
    for sent, found in zip(events, whole.events, strict=True):
        # Times are kept to the microsecond.
        assert abs(sent.occurred_at.ToNanoseconds() - found.occurred_at.ToNanoseconds()) < 2_000
        found.occurred_at.CopyFrom(sent.occurred_at)
        assert found == sent


async def test_a_deleted_user_is_unknown(stub: Stub) -> None:
    """After DeleteUser, ranking, profile, interests and export have no data of the user; others are unchanged."""
    await stub.RecordEvents(recording(event("e1", "boot2"), event("e2", "boot2", "PURCHASE")))
    gone = await stub.DeleteUser(ranker_pb2.DeleteUserRequest(user_id="u"))
    assert (gone.deleted_event_count, gone.deleted_impressions_count) == (2, 0)
    assert (await stub.RankItems(ranking())).history_size == 0
    assert await profile(stub) == profile_pb2.UserProfile(user_id="u")
    found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))
    assert found == ranker_pb2.GetInterestsResponse()


async def test_recently_purchased(stub: Stub) -> None:
    """A purchase of today is recently purchased; an item bought on two days is not."""
    earlier = event("e3", "lamp1", "PURCHASE", age_s=9 * 86_400)
    await stub.RecordEvents(recording(event("e1", "boot1", "PURCHASE"), event("e2", "lamp1", "PURCHASE"), earlier))
    found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))
    assert list(found.recently_purchased_item_ids) == ["boot1"]


async def test_a_slate_has_both_interests(stub: Stub) -> None:
    """Where the options say so, two interests share the first positions of a slate."""
    await stub.RecordEvents(recording(event("e1", "boot2", age_s=30), event("e2", "lamp2", "CART", 60)))
    request = ranking()
    request.as_slate, request.options.share_interests = True, True
    first = list((await stub.RankItems(request)).item_ids)[:2]
    assert {name[:4] for name in first} == {"boot", "lamp"}


async def test_exploration(tmp_path: Path) -> None:
    """In slates places are drawn at random, for users with and without a history by their own shares, with
    propensities below 1; without exploration all are 1, and so they are for a ranking without an id.
    """
    for exploration, informed, explored, not_explored in ((0.5, 0.0, "stranger", "u"), (0.0, 0.5, "u", "stranger")):
        settings = {"exploration": exploration, "informed_exploration": informed}
        async with serving(tmp_path / explored, **settings) as stub:
            await stub.RecordEvents(recording(event("e1", "boot2")))
            slate, other = ranking(explored, ranking_id="r"), ranking(not_explored, ranking_id="r")
            slate.as_slate = other.as_slate = True
            answers = [await stub.RankItems(slate) for _ in range(30)]
            assert len({tuple(answer.item_ids) for answer in answers}) > 3
            assert all(0 < each < 1 for answer in answers for each in answer.propensities)
            slate.ranking_id = ""
            for each in (slate, other):
                assert set((await stub.RankItems(each)).propensities) == {1}


async def test_exploration_of_a_search(tmp_path: Path) -> None:
    """In a search places 4 and 5 change, with propensities below 1, and the drawn item is reported; the first three
    keep theirs. What is out of stock, or named by an identifier, does not move.
    """
    async with serving(tmp_path, informed_exploration=0.5) as stub:
        answers = [await stub.RankItems(ranking(explain=True, ranking_id="r")) for _ in range(30)]
        for answer in answers:
            is_swapped = list(answer.item_ids) != list(VECTORS)
            assert list(answer.item_ids)[:3] == list(VECTORS)[:3]
            # With probability 1/2 drawn, and then one of two.
            assert list(answer.propensities) == [1, 1, 1, *[0.25 if is_swapped else 0.75] * 2]
            drawn = [reasons.slate.is_explored for reasons in answer.reasons]
            assert drawn == [False, False, False, is_swapped, False]
        assert len({tuple(answer.item_ids) for answer in answers}) == 2
        for fixed in ({"stocks": [-1, -1, -1, 0, -1]}, {"identifier_matches": [True] * 4 + [False]}):
            answers = [await stub.RankItems(ranking(ranking_id="r", **fixed)) for _ in range(20)]
            assert len({tuple(answer.item_ids) for answer in answers}) == 1
            assert set(answers[0].propensities) == {1}


async def test_tiers(stub: Stub) -> None:
    """Candidates of a lower tier come first, whatever their scores, and none behind the first tier is explored."""
    tiers = {"lamp1": 2, "lamp2": 0, "boot1": 1, "boot2": 0, "desk": 0}
    for _ in range(5):
        answer = await stub.RankItems(ranking(ranking_id="r", tiers=list(tiers.values())))
        assert [tiers[id] for id in answer.item_ids] == [0, 0, 0, 1, 2]
        assert list(answer.item_ids)[3:] == ["boot1", "lamp1"]
    assert await refusal(stub.RankItems(ranking(tiers=[0]))) == (INVALID, ["candidates.tiers"])


@pytest.mark.parametrize("call", ["GetProfile", "DeleteUser", "ExportUser", "GetInterests"])
async def test_a_person_needs_an_id(stub: Stub, call: str) -> None:
    """A request without an id, or with an id of more than 128 characters, is rejected with the field's name.

    Interests of nobody are allowed.
    """
    message = getattr(ranker_pb2, f"{call}Request")
    for name in ("x" * 129,) if call == "GetInterests" else ("", "x" * 129):
        assert await refusal(getattr(stub, call)(message(user_id=name))) == (INVALID, ["user_id"])
    assert await refusal(getattr(stub, call)(message(visitor_id="x" * 129))) == (INVALID, ["visitor_id"])


@pytest.mark.parametrize("call", ["GetProfile", "DeleteUser", "ExportUser"])
async def test_one_person_at_a_time(stub: Stub, call: str) -> None:
    """User-data calls accept a user or a visitor, not both."""
    message = getattr(ranker_pb2, f"{call}Request")(user_id="u", visitor_id="v")
    assert await refusal(getattr(stub, call)(message)) == (INVALID, ["visitor_id"])


async def test_an_invalid_page(stub: Stub) -> None:
    """An invalid page token and a negative page size are rejected with the field's name."""
    for token in ("x", "events:", "events:-1", "else:3", "events:" + "9" * 30, "rankings:"):
        request = ranker_pb2.ExportUserRequest(user_id="u", page_token=token)
        assert await refusal(stub.ExportUser(request)) == (INVALID, ["page_token"])
    request = ranker_pb2.ExportUserRequest(user_id="u", page_size=-1)
    assert await refusal(stub.ExportUser(request)) == (INVALID, ["page_size"])


NAN = vectors_to_proto(np.full((5, 2), np.nan, np.float16), MODEL)
ONE_ROW = vectors_to_proto(np.ones((1, 2), np.float16), MODEL)
TRUNCATED = common_pb2.Vectors(
    values=common_pb2.Tensor(dtype=common_pb2.DATA_TYPE_FLOAT16, shape=[5, 2], data=b"\0"), model_version=MODEL
)
UNNAMED = vectors_to_proto(np.ones((5, 2), np.float16), "")


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"ids": ()}, "candidates.ids"),
        ({"vectors": NAN}, "candidates.vectors.values.data"),
        ({"vectors": TRUNCATED}, "candidates.vectors.values.data"),
        ({"vectors": ONE_ROW}, "candidates.vectors"),
        ({"vectors": UNNAMED}, "candidates.vectors.model_version"),
        ({"scores": [1.0] * 4}, "candidates.scores"),
        ({"scores": [1.0, float("nan"), 1.0, 1.0, 1.0]}, "candidates.scores"),
        ({"prices": []}, "candidates.prices"),
        ({"stocks": [-1] * 6}, "candidates.stocks"),
    ],
    ids=["none", "NaN", "cut", "rows", "no model", "scores", "NaN score", "prices", "stocks"],
)
async def test_invalid_candidates(stub: Stub, columns: dict[str, Any], field: str) -> None:
    """Invalid candidates are INVALID_ARGUMENT, with the column's name."""
    assert await refusal(stub.RankItems(ranking(**columns))) == (INVALID, [field])


async def test_too_many_candidates(stub: Stub) -> None:
    """A thousand candidates are ranked; one more is rejected."""

    def of(count: int) -> ranker_pb2.RankItemsRequest:
        many = retrieval_pb2.Candidates(
            ids=map(str, range(count)), scores=[1.0] * count, prices=[1.0] * count, stocks=[0] * count
        )
        return ranker_pb2.RankItemsRequest(user_id="u", candidates=many)

    assert len((await stub.RankItems(of(1_000))).item_ids) == 1_000
    assert await refusal(stub.RankItems(of(1_001))) == (INVALID, ["candidates.ids"])


async def test_an_invalid_query_vector(stub: Stub) -> None:
    """A query vector of the wrong shape or with NaN is rejected; one of another model is ignored."""
    request = ranking()
    plain = await stub.RankItems(request)
    request.query_vector.CopyFrom(vectors_to_proto(np.ones((1, 3), np.float32), MODEL))
    assert await refusal(stub.RankItems(request)) == (INVALID, ["query_vector.values"])
    request.query_vector.CopyFrom(vectors_to_proto(np.array([[np.nan, 1]], np.float32), MODEL))
    assert await refusal(stub.RankItems(request)) == (INVALID, ["query_vector.values.data"])
    request.query_vector.CopyFrom(vectors_to_proto(np.ones((1, 3), np.float32), "other@1"))
    assert await stub.RankItems(request) == plain


async def test_unknown_values_are_valid(stub: Stub) -> None:
    """Candidates without vectors, with a price of NaN or with stock -1 are ranked."""
    request = ranking(prices=[float("nan")] * 5)
    request.candidates.ClearField("vectors")
    await stub.RecordEvents(recording(event("e1", "boot2")))
    answer = await stub.RankItems(request)
    assert list(answer.item_ids) == list(VECTORS)
    assert np.isfinite(answer.scores).all()


NEVER = event("e", "boot1")
NEVER.occurred_at.seconds = 300_000_000_000
TOMORROW = event("e", "boot1", age_s=-2 * 86_400)


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        (event("", "boot1"), ["event_id"]),
        (event("x" * 129, "boot1"), ["event_id"]),
        (event("e", ""), ["item_id"]),
        (event("e", "x" * 129, session_id="x" * 129, query="x" * 513), ["session_id", "item_id", "query"]),
        (event("e", "boot1", "UNSPECIFIED"), ["type"]),
        (event("e", "boot1", quantity=-1, dwell_ms=-1), ["quantity", "dwell_ms"]),
        (TOMORROW, ["occurred_at"]),
        (NEVER, ["occurred_at"]),
    ],
    ids=["no id", "long id", "no item", "long texts", "no type", "negative", "ahead", "no time"],
)
async def test_invalid_events(stub: Stub, wrong: event_pb2.Event, fields: list[str]) -> None:
    """Every invalid field is named by its path, and nothing of the batch is recorded."""
    request = recording(event("good", "boot2"), wrong)
    assert await refusal(stub.RecordEvents(request)) == (INVALID, [f"events[1].{name}" for name in fields])
    assert (await stub.RankItems(ranking())).history_size == 0


async def test_a_thousand_invalid_events(stub: Stub) -> None:
    """For any number of invalid fields the error fits into gRPC's size limit and names the first fields."""
    code, fields = await refusal(stub.RecordEvents(recording(*[event_pb2.Event()] * 1_000)))
    assert code is INVALID
    assert fields[:3] == ["events[0].event_id", "events[0].user_id", "events[0].type"]


@pytest.mark.parametrize(
    "call",
    [
        lambda stub: stub.RecordEvents(ranker_pb2.RecordEventsRequest()),
        lambda stub: stub.RecordEvents(recording(*[event("e", "boot1")] * 1_001)),
    ],
    ids=["none", "too many"],
)
async def test_the_number_of_events(stub: Stub, call: Callable[[Stub], Awaitable[object]]) -> None:
    """Zero events and more than 1,000 events are rejected."""
    assert await refusal(call(stub)) == (INVALID, ["events"])


async def test_an_expired_deadline(stub: Stub) -> None:
    """A request without time left is rejected before any work: nothing is ranked or recorded."""
    request, record = ranking(), recording(event("e1", "boot2"))
    for nanos in (0, -1):
        for message in (request, record):
            message.context.budget.remaining.FromNanoseconds(nanos)
        assert (await refusal(stub.RankItems(request)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await refusal(stub.RecordEvents(record)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await stub.RankItems(ranking())).history_size == 0


async def test_an_invalid_tenant(stub: Stub) -> None:
    """A tenant id that is not a valid folder name is rejected."""
    for tenant in ("../up", "UPPER", "x" * 64):
        assert await refusal(stub.RankItems(ranking(tenant=tenant))) == (INVALID, ["context.tenant"])


async def test_without_its_redis(tmp_path: Path) -> None:
    """Without Redis, calls fail with UNAVAILABLE, and the message names Redis."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with serving(tmp_path, store="redis", redis_url=f"redis://127.0.0.1:{port}/0") as stub:
        for call in (stub.RecordEvents(recording(event("e1", "boot1"))), stub.RankItems(ranking())):
            with pytest.raises(grpc.aio.AioRpcError, match="the ranker's Redis cannot be reached") as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_key_of_tokens(stub: Stub) -> None:
    """The first key that is proposed is stored and returned to everyone; a short or unprintable one is refused."""
    first, second = ("a" * 32, "b" * 128)
    for proposed in (first, second):
        answer = await stub.EnsureTokenKey(ranker_pb2.EnsureTokenKeyRequest(proposed_key=proposed))
        assert answer.key == first
    for wrong in ("", "a" * 31, "a" * 129, "a" * 31 + "\n", "ä" * 32):
        call = stub.EnsureTokenKey(ranker_pb2.EnsureTokenKeyRequest(proposed_key=wrong))
        assert await refusal(call) == (INVALID, ["proposed_key"])
