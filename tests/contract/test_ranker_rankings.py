"""Stored rankings, sessions and visitors of RankerService, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kairos.common.v1 import common_pb2, event_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.convert import tensor_from_proto, vectors_from_proto, vectors_to_proto
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.features import CANDIDATE_NUMBERS
from tests.contract.refusals import refusal
from tests.contract.test_ranker import (
    INVALID,
    MODEL,
    VECTORS,
    Stub,
    event,
    exported,
    impressions_of,
    order,
    ranking,
    recording,
    serving,
)

NOT_FOUND, CONFLICT = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path) as running:
        yield running


async def page(stub: Stub, ranking_id: str = "r", offset: int = 0, limit: int = 0) -> ranker_pb2.GetRankingResponse:
    request = ranker_pb2.GetRankingRequest(ranking_id=ranking_id, offset=offset, limit=limit)
    return await stub.GetRanking(request)


def asked(
    ranking_id: str = "r", query: tuple[float, float] | None = None, **fields: Any
) -> ranker_pb2.RankItemsRequest:
    request = ranking(ranking_id=ranking_id, user=fields.pop("user_id", ""))
    request.MergeFrom(ranker_pb2.RankItemsRequest(**fields))
    if query is not None:
        request.query_vector.CopyFrom(vectors_to_proto(np.array([query], np.float32), MODEL))
    return request


async def test_a_later_page_is_of_the_same_ranking(tmp_path: Path) -> None:
    """A ranking is readable in pages as soon as it was returned, also by a ranker that starts later."""
    async with serving(tmp_path) as stub:
        request = asked(user_id="u", visitor_id="v", session_id="s", total_size=77)
        answer = await stub.RankItems(request)
        first, second = await page(stub, limit=3), await page(stub, offset=3, limit=3)
        assert [*first.item_ids, *second.item_ids] == list(answer.item_ids)
        assert [*first.scores, *second.scores] == pytest.approx(list(answer.scores))
        assert list(first.propensities) == [1, 1, 1]
        assert (first.ranked_count, first.total_size) == (5, 77)
        assert (first.model_version, first.user_id, first.visitor_id, first.session_id) == (
            answer.model_version, "u", "v", "s",
        )  # fmt: skip
        assert list((await page(stub, offset=5)).item_ids) == []
    async with serving(tmp_path) as stub:
        assert await page(stub, limit=3) == first


async def test_another_replica_reads_the_ranking(tmp_path: Path) -> None:
    """With a shared store, a second ranker finds the ranking a moment later."""
    async with serving(tmp_path) as one, serving(tmp_path) as other:
        answer = await one.RankItems(asked())
        for _ in range(100):
            try:
                assert list((await page(other)).item_ids) == list(answer.item_ids)
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)  # between two reads of the store
        pytest.fail("the ranking never reached the store")


async def test_an_unknown_ranking(tmp_path: Path) -> None:
    """A ranking that never existed, has expired or belongs to another tenant is NOT_FOUND."""
    async with serving(tmp_path, rankings={"ttl_s": 0.2}) as stub:
        assert (await refusal(page(stub)))[0] is NOT_FOUND
        await stub.RankItems(asked())
        other = ranker_pb2.GetRankingRequest(context=common_pb2.RequestContext(tenant="other"), ranking_id="r")
        assert (await refusal(stub.GetRanking(other)))[0] is NOT_FOUND
        await asyncio.sleep(0.5)  # until it is written, and has expired
        assert (await refusal(page(stub)))[0] is NOT_FOUND


async def test_a_ranking_without_an_id_is_not_stored(tmp_path: Path) -> None:
    """A request without ranking_id stores no ranking and changes no session."""
    async with serving(tmp_path) as stub:
        request = asked(ranking_id="", session_id="s", query=(1, 0))
        await stub.RankItems(request)
        found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(session_id="s"))
        assert not found.HasField("session")


async def test_a_ranking_of_another_stage(stub: Stub) -> None:
    """StoreRanking stores retrieval's order for later pages, under the caller's id."""
    request = ranker_pb2.StoreRankingRequest(
        ranking_id="r", visitor_id="v", item_ids=["b", "a"], scores=[0.5, 0.25], model_version="retrieval-order",
        total_size=9,
    )  # fmt: skip
    await stub.StoreRanking(request)
    stored = await page(stub)
    assert (list(stored.item_ids), list(stored.scores), list(stored.propensities)) == (["b", "a"], [0.5, 0.25], [1, 1])
    assert (stored.model_version, stored.total_size, stored.visitor_id) == ("retrieval-order", 9, "v")
    assert (await stub.RecordImpressions(impressions_of("r", 1, 2))).recorded_count == 1
    (shown,) = (await exported(stub, visitor_id="v")).impressions
    assert (list(shown.item_ids), list(shown.feature_names)) == (["b", "a"], [])


async def test_another_order_of_a_ranking(stub: Stub) -> None:
    """A ranking that a caller reordered has the caller's order, and what the ranker knew of the items."""
    answer = await stub.RankItems(asked(user_id="u", query=(1, 0)))
    first, second, *others = answer.item_ids
    order = [second, first, *others]
    request = ranker_pb2.StoreRankingRequest(
        ranking_id="r2", user_id="u", item_ids=order, scores=answer.scores, model_version=answer.model_version,
        total_size=9, reordered_ranking_id="r",
    )  # fmt: skip
    await stub.StoreRanking(request)
    stored = await page(stub, ranking_id="r2")
    assert list(stored.item_ids) == order
    await stub.RecordImpressions(impressions_of("r2", 1))
    (shown,) = (await exported(stub, user_id="u")).impressions
    assert list(shown.item_ids) == [second]
    assert tuple(shown.feature_names) == CANDIDATE_NUMBERS


async def test_another_order_of_what_is_not_known(stub: Stub) -> None:
    """Without the first ranking, and of another person or with another item, the new order is stored by itself."""
    answer = await stub.RankItems(asked(user_id="u", query=(1, 0)))
    requests = [
        ranker_pb2.StoreRankingRequest(user_id="u", item_ids=answer.item_ids, reordered_ranking_id="unknown"),
        ranker_pb2.StoreRankingRequest(user_id="u2", item_ids=answer.item_ids, reordered_ranking_id="r"),
        ranker_pb2.StoreRankingRequest(user_id="u", item_ids=["new", *answer.item_ids[1:]], reordered_ranking_id="r"),
    ]
    for number, request in enumerate(requests):
        request.ranking_id = f"other{number}"
        request.scores.extend(answer.scores)
        await stub.StoreRanking(request)
        assert list((await page(stub, ranking_id=request.ranking_id)).item_ids) == list(request.item_ids)
        await stub.RecordImpressions(impressions_of(request.ranking_id, 1))
    shown = (await exported(stub, user_id="u")).impressions
    assert [len(one.feature_names) for one in shown] == [0, 0]


async def test_shown_rows_are_logged_with_their_features(stub: Stub) -> None:
    """The log has the shown rows as ranked: positions, propensities, query, leg scores and all features."""
    request = asked(user_id="u", visitor_id="v", session_id="s", query=(1, 0))
    request.query = "boots"
    request.context.experiment_arms.add(experiment="colour", arm="blue")
    answer = await stub.RankItems(request)
    recorded = await stub.RecordImpressions(impressions_of("r", 2, 5))
    assert (recorded.recorded_count, list(recorded.missing_ranking_ids)) == (1, [])
    (shown,) = (await exported(stub, user_id="u")).impressions
    assert (shown.ranking_id, shown.user_id, shown.visitor_id, shown.session_id) == ("r", "u", "v", "s")
    assert (shown.query, shown.model_version) == ("boots", answer.model_version)
    assert list(shown.item_ids) == [answer.item_ids[1], answer.item_ids[4]]
    assert (list(shown.positions), list(shown.propensities)) == ([2, 5], [1, 1])
    assert [(arm.experiment, arm.arm) for arm in shown.experiment_arms] == [("colour", "blue")]
    assert tuple(shown.feature_names) == CANDIDATE_NUMBERS
    numbers = dict(zip(shown.feature_names, tensor_from_proto(shown.features, "features").T, strict=True))
    cosines = [VECTORS[id][0] / np.hypot(*VECTORS[id]) for id in shown.item_ids]
    np.testing.assert_allclose(numbers["query_cosine"], cosines, atol=1e-3)
    np.testing.assert_allclose(numbers["log_price"], np.log([50, 50]), rtol=1e-6)
    np.testing.assert_allclose(vectors_from_proto(shown.query_vector, "query"), [[1, 0]])


async def test_pages_are_logged_once(stub: Stub) -> None:
    """A repeated page is not logged again, the next page is. Unknown ranking ids are returned."""
    await stub.RankItems(asked())
    both = ranker_pb2.RecordImpressionsRequest(
        shown=[*impressions_of("r", 1, 2).shown, *impressions_of("gone", 1).shown]
    )
    for count in (1, 0):
        answer = await stub.RecordImpressions(both)
        assert (answer.recorded_count, list(answer.missing_ranking_ids)) == (count, ["gone"])
    assert (await stub.RecordImpressions(impressions_of("r", 3))).recorded_count == 1


async def test_shown_items_are_stored(tmp_path: Path) -> None:
    """Shown items are stored with vector, price, category and brand; other items are not."""
    async with serving(tmp_path) as stub:
        answer = await stub.RankItems(asked())
        await stub.RecordImpressions(impressions_of("r", 1, 3))
    with closing(SqliteProfileStore(tmp_path)) as store:
        known = store.items("default", list(VECTORS))
    assert set(known) == {answer.item_ids[0], answer.item_ids[2]}
    for id, item in known.items():
        assert item.vector is not None
        np.testing.assert_allclose(item.vector, VECTORS[id], atol=1e-3)
        assert (item.model_version, item.price, item.brand) == (MODEL, 50.0, "B")


async def test_an_impression_of_nobody_names_nobody(tmp_path: Path) -> None:
    """Without user and visitor, the log has a digest of the session, the same for its pages, and not its id."""
    async with serving(tmp_path, rankings={"whole_share": 1.0}) as stub:
        for number, visitor in enumerate(("", "", "v")):
            await stub.RankItems(asked(f"r{number}", session_id="a-session", visitor_id=visitor))
            await stub.RecordImpressions(impressions_of(f"r{number}", 1))
    with closing(SqliteProfileStore(tmp_path)) as store:
        pages = [page.ranking.session_id for _, page in store.impressions_after("default", 0, 9)]
        whole = [ranking.session_id for _, ranking in store.whole_rankings_after("default", 0, 9)]
    assert pages == whole
    assert pages[0] == pages[1] != pages[2] == "a-session"
    assert len(pages[0]) == 24


async def test_a_sample_is_logged_whole(tmp_path: Path) -> None:
    """For the configured share of rankings, the log and the export have all candidates, shown or not."""
    async with serving(tmp_path, rankings={"whole_share": 1.0}) as stub:
        answer = await stub.RankItems(asked(user_id="u"))
        await stub.RecordImpressions(impressions_of("r", 1))
        await stub.RecordImpressions(impressions_of("r", 2))
        whole = await exported(stub, user_id="u")
        (logged,) = whole.rankings
        assert len(whole.impressions) == 2
        assert list(logged.item_ids) == list(answer.item_ids)
        assert list(logged.positions) == [1, 2, 3, 4, 5]
        assert list(logged.features.shape) == [5, len(CANDIDATE_NUMBERS)]
    async with serving(tmp_path / "none", rankings={"whole_share": 0.0}) as stub:
        await stub.RankItems(asked(user_id="u"))
        await stub.RecordImpressions(impressions_of("r", 1))
        assert not (await exported(stub, user_id="u")).rankings


def prices(**fields: Any) -> event_pb2.ShownPrices:
    """Of two items, of which the second has no price."""
    usd = common_pb2.Money(currency_code="USD", units=19, nanos=900_000_000)
    columns: dict[str, Any] = {
        "price_list_id": "wholesale",
        "place_id": "oslo",
        "offers": [usd, common_pb2.Money()],
        "list_prices": [common_pb2.Money(currency_code="USD", units=25), common_pb2.Money()],
        "reasons": ["overstock", ""],
        "quote_ids": ["0f" * 16, ""],
        "in_stock": [True, False],
    }
    return event_pb2.ShownPrices(**(columns | fields))


def answered(*positions: int, **fields: Any) -> ranker_pb2.RecordImpressionsRequest:
    shown = ranker_pb2.ShownPositions(ranking_id="r", positions=positions or [1], **fields)
    return ranker_pb2.RecordImpressionsRequest(shown=[shown])


async def test_the_log_says_how_a_page_was_answered(stub: Stub) -> None:
    """Latency and degradations are logged with the page, without texts that may change."""
    await stub.RankItems(asked(user_id="u"))
    late = common_pb2.Degradation(
        stage=common_pb2.STAGE_PRICING, reason=common_pb2.DEGRADATION_REASON_LATE, fallback="x", detail="y"
    )
    await stub.RecordImpressions(answered(latency_ms=12.345, degradations=[late]))
    (shown,) = (await exported(stub, user_id="u")).impressions
    assert shown.latency_ms == pytest.approx(12.345, abs=0.01)
    assert [(one.stage, one.reason, one.fallback) for one in shown.degradations] == [(late.stage, late.reason, "")]


def interleaved(*item_ids: str, **fields: Any) -> ranker_pb2.StoreRankingRequest:
    """A new order of the ranking `r`."""
    given = event_pb2.Interleaving(**({"experiment": "e", "arms": ["old", "new"], "teams": [0, 1, 2]} | fields))
    return ranker_pb2.StoreRankingRequest(
        ranking_id="i", user_id="u", item_ids=item_ids, scores=[1.0] * len(item_ids), model_version="1 & 2",
        reordered_ranking_id="r", interleaving=given,
    )  # fmt: skip


async def test_the_log_says_which_arm_brought_what(stub: Stub) -> None:
    """With what the ranker knew of the items, and without a policy: two arms made the order, and nothing was drawn."""
    answer = await stub.RankItems(asked(user_id="u", without_exploration=True))
    assert set(answer.propensities) == {1.0}
    await stub.StoreRanking(interleaved(*answer.item_ids[:3]))
    shown = ranker_pb2.ShownPositions(ranking_id="i", positions=[2, 3])
    await stub.RecordImpressions(ranker_pb2.RecordImpressionsRequest(shown=[shown]))
    (page,) = (await exported(stub, user_id="u")).impressions
    assert page.interleaving == event_pb2.Interleaving(experiment="e", arms=["old", "new"], teams=[1, 2])
    assert (page.model_version, list(page.features.shape)) == ("1 & 2", [2, len(CANDIDATE_NUMBERS)])
    assert not page.policy_positions


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"experiment": ""}, "experiment"), ({"arms": ["old"]}, "arms"), ({"arms": ["old", "x" * 129]}, "arms[1]"),
     ({"teams": [0, 1]}, "teams"), ({"teams": [0, 1, 3]}, "teams")],
)  # fmt: skip
async def test_wrong_teams(stub: Stub, fields: dict[str, Any], field: str) -> None:
    """They are INVALID_ARGUMENT with the field, and no ranking is stored."""
    code, problems = await refusal(stub.StoreRanking(interleaved("p1", "p2", "p3", **fields)))
    assert (code, list(problems)) == (INVALID, [f"interleaving.{field}"])
    assert (await refusal(page(stub, "i")))[0] is NOT_FOUND


async def test_an_answer_without_results_is_logged(stub: Stub) -> None:
    """Once, with the person and the arms of its request; a page of a ranking with items needs positions."""
    request = ranker_pb2.StoreRankingRequest(ranking_id="empty", user_id="u", query="nothing")
    request.context.experiment_arms.add(experiment="colour", arm="blue")
    await stub.StoreRanking(request)
    nothing = ranker_pb2.RecordImpressionsRequest(shown=[ranker_pb2.ShownPositions(ranking_id="empty")])
    assert (await stub.RecordImpressions(nothing)).recorded_count == 1
    assert (await stub.RecordImpressions(nothing)).recorded_count == 0
    (shown,) = (await exported(stub, user_id="u")).impressions
    assert (shown.user_id, shown.query, list(shown.item_ids), list(shown.positions)) == ("u", "nothing", [], [])
    assert [(arm.experiment, arm.arm) for arm in shown.experiment_arms] == [("colour", "blue")]


def priced(**fields: Any) -> ranker_pb2.RecordImpressionsRequest:
    message = impressions_of("r", 1, 2)
    message.shown[0].prices.CopyFrom(prices(**fields))
    return message


async def test_prices_of_a_page(stub: Stub) -> None:
    """The log and the person's export have the prices that were shown with a page, as they were sent."""
    await stub.RankItems(asked(user_id="u"))
    await stub.RecordImpressions(priced())
    await stub.RecordImpressions(impressions_of("r", 3))
    log = ranker_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS)
    for pages in ((await stub.ReadLog(log)).impressions, (await exported(stub, user_id="u")).impressions):
        assert [page.HasField("prices") for page in pages] == [True, False]
        assert pages[0].prices == prices()


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"reasons": ["overstock"]}, "reasons"),
        ({"in_stock": []}, "in_stock"),
        ({"price_list_id": " "}, "price_list_id"),
        ({"quote_ids": ["a\nb", ""]}, "quote_ids[0]"),
        ({"reasons": ["x" * 65, ""]}, "reasons[0]"),
        ({"offers": [common_pb2.Money(currency_code="USD", nanos=1), common_pb2.Money()]}, "offers[0]"),
        ({"offers": [common_pb2.Money(currency_code="USD", units=-1), common_pb2.Money()]}, "offers[0]"),
        ({"offers": [common_pb2.Money(currency_code="EUR"), common_pb2.Money()]}, "list_prices[0].currency_code"),
    ],
    ids=["reasons", "stock", "list", "quote id", "long reason", "part of a cent", "negative", "currencies"],
)
async def test_invalid_prices(stub: Stub, fields: dict[str, Any], wrong: str) -> None:
    """Invalid prices are INVALID_ARGUMENT with the field's name; nothing is logged."""
    await stub.RankItems(asked(user_id="u"))
    assert await refusal(stub.RecordImpressions(priced(**fields))) == (INVALID, [f"shown[0].prices.{wrong}"])
    assert not (await exported(stub, user_id="u")).impressions


def sponsored(item_id: str, **fields: Any) -> event_pb2.SponsoredImpression:
    cents = common_pb2.Money(currency_code="EUR", nanos=50_000_000)
    usual: dict[str, Any] = {"campaign_id": "spring", "click_price": cents, "expected_clicks": 0.25}
    return event_pb2.SponsoredImpression(item_id=item_id, **{**usual, **fields})


async def test_sponsored_places_of_a_page(stub: Stub) -> None:
    """The log and the person's export have the campaign and the price of a click, as they were sent."""
    (first, *_) = (await stub.RankItems(asked(user_id="u"))).item_ids
    message = impressions_of("r", 1, 2)
    message.shown[0].sponsored.append(sponsored(first))
    await stub.RecordImpressions(message)
    log = ranker_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS)
    for pages in ((await stub.ReadLog(log)).impressions, (await exported(stub, user_id="u")).impressions):
        assert [list(page.sponsored) for page in pages] == [[sponsored(first)]]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ([{}, {}], "sponsored[1].item_id"),
        ([{"item_id": "elsewhere"}], "sponsored[0].item_id"),
        ([{"campaign_id": ""}], "sponsored[0].campaign_id"),
        ([{"click_price": common_pb2.Money(currency_code="EUR", nanos=1)}], "sponsored[0].click_price"),
        ([{"click_price": common_pb2.Money(currency_code="EUR", units=-1)}], "sponsored[0].click_price"),
        ([{"expected_clicks": 1.5}], "sponsored[0].expected_clicks"),
        ([{}] * 101, "sponsored"),
    ],
    ids=["twice", "not shown", "no campaign", "part of a cent", "negative", "clicks", "too many"],
)
async def test_invalid_sponsored_places(stub: Stub, fields: list[dict[str, Any]], wrong: str) -> None:
    """INVALID_ARGUMENT with the field's name; nothing is logged."""
    (first, *_) = (await stub.RankItems(asked(user_id="u"))).item_ids
    message = impressions_of("r", 1, 2)
    message.shown[0].sponsored.extend(sponsored(**{"item_id": first, **each}) for each in fields)
    assert await refusal(stub.RecordImpressions(message)) == (INVALID, [f"shown[0].{wrong}"])
    assert not (await exported(stub, user_id="u")).impressions


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (ranker_pb2.RecordImpressionsRequest(), ["shown"]),
        (impressions_of("", 1), ["shown[0].ranking_id"]),
        (impressions_of("r"), ["shown[0].positions"]),
        (impressions_of("r", *[1] * 101), ["shown[0].positions"]),
        (impressions_of("r", 1, 0, 6), ["shown[0].positions[1]", "shown[0].positions[2]"]),
        (answered(latency_ms=float("nan")), ["shown[0].latency_ms"]),
        (answered(degradations=[common_pb2.Degradation()] * 65), ["shown[0].degradations"]),
    ],
    ids=["none", "no id", "no positions", "too many", "out of range", "latency", "degradations"],
)
async def test_invalid_positions(stub: Stub, request_: ranker_pb2.RecordImpressionsRequest, fields: list[str]) -> None:
    """Invalid positions are INVALID_ARGUMENT with the field's name; nothing is logged."""
    await stub.RankItems(asked(user_id="u"))
    assert await refusal(stub.RecordImpressions(request_)) == (INVALID, fields)
    assert not (await exported(stub, user_id="u")).impressions


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (ranker_pb2.StoreRankingRequest(item_ids=["a"], scores=[1]), ["ranking_id"]),
        (ranker_pb2.StoreRankingRequest(ranking_id="r", item_ids=["a"] * 1_001), ["item_ids"]),
        (ranker_pb2.StoreRankingRequest(ranking_id="r", item_ids=["a", "b"], scores=[1]), ["scores"]),
        (ranker_pb2.StoreRankingRequest(ranking_id="r", item_ids=["a"], scores=[float("nan")]), ["scores"]),
        (ranker_pb2.StoreRankingRequest(ranking_id="r" * 129, query="q" * 513), ["ranking_id", "query"]),
    ],
    ids=["no id", "too many", "rows", "NaN", "long texts"],
)
async def test_an_invalid_ranking(stub: Stub, request_: ranker_pb2.StoreRankingRequest, fields: list[str]) -> None:
    """An invalid ranking is INVALID_ARGUMENT with the field's name."""
    assert await refusal(stub.StoreRanking(request_)) == (INVALID, fields)


async def test_invalid_ranking_fields(stub: Stub) -> None:
    """Too long texts of RankItems and invalid bounds of GetRanking are rejected with the field's name."""
    long = asked("r" * 129, visitor_id="x" * 129, session_id="x" * 129)
    long.query = "x" * 513
    assert await refusal(stub.RankItems(long)) == (INVALID, ["visitor_id", "session_id", "ranking_id", "query"])
    for fields, name in (({"offset": -1}, "offset"), ({"limit": -1}, "limit"), ({"ranking_id": ""}, "ranking_id")):
        request = ranker_pb2.GetRankingRequest(**({"ranking_id": "r"} | fields))
        assert await refusal(stub.GetRanking(request)) == (INVALID, [name])


async def session(stub: Stub, session_id: str = "s") -> list[float] | None:
    found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(session_id=session_id))
    return vectors_from_proto(found.session, "session")[0].tolist() if found.HasField("session") else None


def in_session(event_id: str, item_id: str, kind: str = "CLICK", age_s: float = 0.0) -> event_pb2.Event:
    return event(event_id, item_id, kind, age_s, session_id="s")


async def test_a_session_follows_queries_and_events(tmp_path: Path) -> None:
    """The session context has the last query or event at the next request, also in another ranker."""
    async with serving(tmp_path) as one, serving(tmp_path) as other:
        assert await session(one) is None
        await one.RankItems(asked(session_id="s", query=(0, 1)))
        assert await session(one) == pytest.approx([0, 1])
        await one.RecordEvents(recording(in_session("e1", "boot1")))
        expected = np.array([0.4, 0.6]) / np.hypot(0.4, 0.6)
        assert await session(other) == pytest.approx(expected, abs=1e-3)
        await one.RankItems(asked(session_id="s", query=(0, 1)))
        expected = 0.6 * expected + [0, 0.4]
        assert await session(one) == pytest.approx(expected / np.linalg.norm(expected), abs=1e-3)
        assert await session(one, "other session") is None


async def test_events_that_change_no_session(stub: Stub) -> None:
    """Repeats, impressions, removals, events on unknown items and events of ended sessions change no context."""
    await stub.RecordEvents(recording(in_session("e1", "lamp1")))
    before = await session(stub)
    for again in (
        in_session("e1", "boot1"),
        in_session("e2", "boot1", "IMPRESSION"),
        in_session("e6", "boot1", "REMOVE"),
        in_session("e3", "nowhere"),
        in_session("e4", "boot1", age_s=3_600),
        event("e5", "boot1"),
    ):
        await stub.RecordEvents(recording(again))
        assert await session(stub) == before


async def test_events_of_one_call_move_in_order(tmp_path: Path) -> None:
    """Several events of a session in one call, one repeated, have the same effect as one call per event."""
    events = [in_session("e1", "lamp1"), in_session("e2", "boot1"), in_session("e3", "boot2", "CART")]
    contexts = []
    for name, calls in (("one", [[*events, events[0]]]), ("each", [[entry] for entry in events])):
        async with serving(tmp_path / name) as stub:
            for batch in calls:
                await stub.RecordEvents(recording(*batch))
            contexts.append(await session(stub))
    assert contexts[0] == pytest.approx(contexts[1], abs=1e-6)


async def test_a_session_ends(tmp_path: Path) -> None:
    """After its time to live a session is unknown."""
    async with serving(tmp_path, sessions={"ttl_s": 0.2}) as stub:
        await stub.RecordEvents(recording(in_session("e1", "lamp1")))
        assert await session(stub) is not None
        await asyncio.sleep(0.25)  # the time to live
        assert await session(stub) is None


async def test_interests_of_a_visitor_or_session(stub: Stub) -> None:
    """A visitor has its own interests, and a session needs neither user nor visitor."""
    click = event("e1", "boot1", visitor_id="v")
    click.user_id = ""
    await stub.RecordEvents(recording(click))
    found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(visitor_id="v"))
    np.testing.assert_allclose(vectors_from_proto(found.interests, "interests"), [[1, 0]], atol=1e-3)
    assert not (await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="v"))).HasField("interests")


def of_visitor(event_id: str, item_id: str, kind: str = "CLICK") -> event_pb2.Event:
    made = event(event_id, item_id, kind, visitor_id="v")
    made.user_id = ""
    return made


def by_visitor(ranking_id: str = "") -> ranker_pb2.RankItemsRequest:
    return asked(ranking_id=ranking_id, visitor_id="v")


async def test_a_visitors_history_is_used(stub: Stub) -> None:
    """A visitor's history orders the visitor's next ranking, but not that of a user with the same id."""
    await stub.RecordEvents(recording(of_visitor("e1", "boot2")))
    ranked = await stub.RankItems(by_visitor())
    assert list(ranked.item_ids)[:2] == ["boot1", "boot2"]
    assert ranked.history_size == 1
    assert await order(stub, user="v") == list(VECTORS)


async def merge(stub: Stub, user: str = "u") -> ranker_pb2.MergeUsersResponse:
    return await stub.MergeUsers(ranker_pb2.MergeUsersRequest(visitor_id="v", user_id=user))


async def test_a_merge_moves_the_history(stub: Stub) -> None:
    """After a merge, rankings for the user and for the visitor's id alone use the visitor's history."""
    await stub.RecordEvents(recording(of_visitor("e1", "boot2"), of_visitor("e2", "lamp1", "PURCHASE")))
    await stub.RankItems(by_visitor("r"))
    await stub.RecordImpressions(impressions_of("r", 1, 2))
    moved = await merge(stub)
    assert (moved.moved_event_count, moved.moved_impressions_count) == (2, 1)
    assert (await stub.RankItems(ranking())).history_size == 2
    await stub.RecordEvents(recording(of_visitor("e3", "boot1")))
    assert (await stub.RankItems(ranking())).history_size == (await stub.RankItems(by_visitor())).history_size == 3
    assert (await merge(stub)) == ranker_pb2.MergeUsersResponse()
    whole = await exported(stub, user_id="u")
    assert [entry.event_id for entry in whole.events] == ["e1", "e2", "e3"]
    assert {entry.visitor_id for entry in whole.events} == {"v"}
    assert len(whole.impressions) == 1


async def test_a_visitor_has_one_user(stub: Stub) -> None:
    """Merging a visitor into a second user is FAILED_PRECONDITION; ids are required."""
    await merge(stub)
    assert (await refusal(merge(stub, "other")))[0] is CONFLICT
    assert await refusal(merge(stub, "")) == (INVALID, ["user_id"])
    assert await refusal(stub.MergeUsers(ranker_pb2.MergeUsersRequest(user_id="u"))) == (INVALID, ["visitor_id"])


async def test_a_deletion_leaves_nothing(stub: Stub) -> None:
    """Events, pages, rankings, sessions and logged features of user and merged visitor are deleted."""
    await stub.RecordEvents(recording(of_visitor("e1", "boot2"), in_session("e2", "boot1")))
    await stub.RankItems(by_visitor("r1"))
    await stub.RankItems(asked("r2", user_id="u", session_id="s", query=(1, 0)))
    await stub.RankItems(asked("r3", user_id="other"))
    await stub.RecordImpressions(impressions_of("r1", 1))
    assert await session(stub) is not None
    await merge(stub)
    gone = await stub.DeleteUser(ranker_pb2.DeleteUserRequest(user_id="u"))
    assert (gone.deleted_event_count, gone.deleted_impressions_count) == (2, 1)
    for ranking_id in ("r1", "r2"):
        assert (await refusal(page(stub, ranking_id)))[0] is NOT_FOUND
    assert (await page(stub, "r3")).ranked_count == 5
    assert await session(stub) is None
    for whole in (await exported(stub, user_id="u"), await exported(stub, visitor_id="v")):
        assert (len(whole.events), len(whole.impressions), len(whole.profile.recent)) == (0, 0, 0)
    assert (await stub.RankItems(by_visitor())).history_size == 0


async def test_a_deletion_counts_rankings(tmp_path: Path) -> None:
    """The response has the number of removed stored rankings."""
    async with serving(tmp_path) as stub:
        for n in range(3):
            await stub.RankItems(asked(f"r{n}", user_id="u"))
    async with serving(tmp_path) as stub:
        gone = await stub.DeleteUser(ranker_pb2.DeleteUserRequest(user_id="u"))
    assert gone.deleted_ranking_count == 3


async def test_a_visitors_profile(stub: Stub) -> None:
    """GetProfile of a visitor names the visitor."""
    await stub.RecordEvents(recording(of_visitor("e1", "boot2")))
    found = (await stub.GetProfile(ranker_pb2.GetProfileRequest(visitor_id="v"))).profile
    assert (found.user_id, found.visitor_id, [entry.item_id for entry in found.recent]) == ("", "v", ["boot2"])
