"""Lists of items of RankerService over real gRPC: related, trending, recently viewed, to buy again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from kairos.ranker.v1 import ranker_pb2
from tests.contract.refusals import refusal
from tests.contract.test_ranker import Stub, event, ranking, recording, serving

DAY_S = 86_400.0
BOUGHT, VIEWED = ranker_pb2.RELATION_BOUGHT_TOGETHER, ranker_pb2.RELATION_VIEWED_TOGETHER
FOLLOWED, NEIGHBOURS = ranker_pb2.RELATION_FOLLOWED, ranker_pb2.PERSON_ITEMS_NEIGHBOURS
RECENTLY_VIEWED, BUY_AGAIN = ranker_pb2.PERSON_ITEMS_RECENTLY_VIEWED, ranker_pb2.PERSON_ITEMS_BUY_AGAIN


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path, item_counts={"interval_s": 0.02}) as running:
        yield running


async def related(stub: Stub, *item_ids: str, relation: ranker_pb2.Relation.ValueType = BOUGHT) -> list[str]:
    answer = await stub.ListRelatedItems(ranker_pb2.ListRelatedItemsRequest(item_ids=item_ids, relation=relation))
    return list(answer.item_ids)


async def test_related_items(stub: Stub) -> None:
    """Items bought together come with score and persons, without those that were asked for."""
    await stub.RecordEvents(recording(event("e1", "boot1", "PURCHASE"), event("e2", "lamp1", "PURCHASE", 60)))

    async with asyncio.timeout(10):
        while await related(stub, "boot1") != ["lamp1"]:  # noqa: ASYNC110 - it happens behind a port
            await asyncio.sleep(0.02)
    message = ranker_pb2.ListRelatedItemsRequest(item_ids=["boot1"], relation=BOUGHT, limit=1)
    answer = await stub.ListRelatedItems(message)
    assert (list(answer.counts), len(answer.scores)) == ([1], 1)
    assert await related(stub, "boot1", "lamp1") == []
    assert await related(stub, "boot1", relation=VIEWED) == []
    assert await related(stub, "unknown") == []


async def test_trending_items(stub: Stub) -> None:
    """An item that several persons act on today is trending, in its category too."""
    events = [event(f"e{n}", "lamp1") for n in range(6)]
    for number, each in enumerate(events):
        each.user_id = f"u{number}"
    await stub.RecordEvents(recording(*events, event("one", "boot1"), event("two", "lamp1")))

    # They are counted together, before the first list is asked for: a list is kept for some seconds.
    async with asyncio.timeout(10):
        while not await related(stub, "lamp1", relation=VIEWED):  # noqa: ASYNC110 - it happens behind a port
            await asyncio.sleep(0.02)
    lamps = await stub.ListTrendingItems(ranker_pb2.ListTrendingItemsRequest(category="Lamps"))
    assert list(lamps.item_ids) == ["lamp1"]
    assert lamps.scores[0] > 1
    boots = await stub.ListTrendingItems(ranker_pb2.ListTrendingItemsRequest(category="Boots"))
    assert not boots.item_ids


async def test_items_of_a_person(stub: Stub) -> None:
    """The newest views first; what the person buys regularly is due after its interval."""
    purchases = [event(f"p{age}", "boot1", "PURCHASE", age * DAY_S) for age in (40, 30, 20, 10)]
    await stub.RecordEvents(recording(*purchases, event("c1", "lamp1", age_s=60), event("c2", "lamp2", age_s=30)))
    viewed = await stub.ListPersonItems(ranker_pb2.ListPersonItemsRequest(user_id="u", items=RECENTLY_VIEWED, limit=2))
    assert list(viewed.item_ids) == ["lamp2", "lamp1"]
    due = await stub.ListPersonItems(ranker_pb2.ListPersonItemsRequest(user_id="u", items=BUY_AGAIN))
    assert list(due.item_ids) == ["boot1"]
    nobody = await stub.ListPersonItems(ranker_pb2.ListPersonItemsRequest(session_id="s", items=BUY_AGAIN))
    assert not nobody.item_ids


async def test_neighbours(stub: Stub) -> None:
    """What others acted on beside the person's items, days apart: as a list and as related items."""
    others = [event("e1", "boot1", "PURCHASE", 15 * DAY_S), event("e2", "lamp1", age_s=DAY_S)]
    for each in others:
        each.user_id = "other"
    await stub.RecordEvents(recording(*others, event("e3", "boot1", age_s=60)))
    asked = ranker_pb2.ListPersonItemsRequest(user_id="u", items=NEIGHBOURS)
    async with asyncio.timeout(10):
        while not (found := await stub.ListPersonItems(asked)).item_ids:  # noqa: ASYNC110 - it happens behind a port
            await asyncio.sleep(0.02)
    assert list(found.item_ids) == ["lamp1"]
    assert found.scores[0] > 0
    assert await related(stub, "boot1", relation=FOLLOWED) == ["lamp1"]
    assert not (await stub.ListPersonItems(ranker_pb2.ListPersonItemsRequest(user_id="v", items=NEIGHBOURS))).item_ids

    await stub.RankItems(ranking(ranking_id="r1", ids=("lamp1", "lamp2")))
    shown = ranker_pb2.ShownPositions(ranking_id="r1", positions=[1, 2])
    await stub.RecordImpressions(ranker_pb2.RecordImpressionsRequest(shown=[shown]))
    page = (await stub.ReadLog(ranker_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS))).impressions[0]
    logged = np.frombuffer(page.features.data, "<f4").reshape(page.features.shape)
    matches = dict(zip(page.item_ids, logged[:, list(page.feature_names).index("neighbour_match")], strict=True))
    assert matches == pytest.approx({"lamp1": found.scores[0] ** 0.5, "lamp2": 0.0}, rel=1e-4)


@pytest.mark.parametrize(
    ("method", "message", "field"),
    [
        ("ListRelatedItems", ranker_pb2.ListRelatedItemsRequest(relation=BOUGHT), "item_ids"),
        ("ListRelatedItems", ranker_pb2.ListRelatedItemsRequest(item_ids=["i"] * 101, relation=BOUGHT), "item_ids"),
        ("ListRelatedItems", ranker_pb2.ListRelatedItemsRequest(item_ids=["\n"], relation=BOUGHT), "item_ids[0]"),
        ("ListRelatedItems", ranker_pb2.ListRelatedItemsRequest(item_ids=["i"]), "relation"),
        ("ListRelatedItems", ranker_pb2.ListRelatedItemsRequest(item_ids=["i"], relation=BOUGHT, limit=1_001), "limit"),
        ("ListTrendingItems", ranker_pb2.ListTrendingItemsRequest(limit=-1), "limit"),
        ("ListPersonItems", ranker_pb2.ListPersonItemsRequest(items=BUY_AGAIN), "user_id"),
        ("ListPersonItems", ranker_pb2.ListPersonItemsRequest(user_id="u"), "items"),
        ("ListPersonItems", ranker_pb2.ListPersonItemsRequest(user_id="u", items=BUY_AGAIN, limit=201), "limit"),
    ],
)
async def test_bounds(stub: Stub, method: str, message: object, field: str) -> None:
    """A request beyond its bounds is refused with the path of the field."""
    assert await refusal(getattr(stub, method)(message)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
