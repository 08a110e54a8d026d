"""Logged features against a replay: what the ranker logged is what the log of events gives for that moment.

The demo shop's simulated shoppers, a third of them anonymous, search, look at lists and buy, over real gRPC. The logged
features of each page are compared with features that are computed from a history which is rebuilt from the log of
events as of the page's moment.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from demo.catalogue import DemoProduct, build_catalogue
from demo.shoppers import DemoEvent, DemoSession, build_shoppers, simulate_sessions
from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import FloatArray, unit_rows
from services.common.convert import vectors_to_proto
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.convert import scores_and_type
from services.ranker.domain.candidate_features import CandidateFeatures, features_of
from services.ranker.domain.event import Batch, EventType
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.stored_ranking import LoggedFeatures
from services.ranker.domain.user_features import CONTEXT, EVENT_NUMBERS, UserFeatures
from services.ranker.handler import RankerHandler
from services.ranker.settings import RankerSettings
from services.ranker.wiring import (
    build_conversation_store,
    build_count_store,
    build_models,
    build_ranking_store,
    build_shopper_models,
    build_store,
)
from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader

MODEL, DIMENSIONS, SEED = "m@1", 24, 7
PRODUCTS, SHOPPERS, DAYS = 400, 25, 12
# Candidates of the type that the query asks for.
OF_TYPE = 3
WINDOW_S = 3_600.0
Stub = Any


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class Shop:
    """The demo shop in front of a ranker: searches are ranked, shown and answered with the simulated events."""

    def __init__(self, stub: Stub, clock: Clock) -> None:
        self._stub, self._clock = stub, clock
        self.products = {product.id: product for product in build_catalogue(SEED, PRODUCTS)}
        random = np.random.default_rng(SEED)
        shelves = sorted({product.category_path for product in self.products.values()})
        directions = random.normal(size=(len(shelves), DIMENSIONS)).astype(np.float32)
        self._shelf = dict(zip(shelves, unit_rows(directions), strict=True))
        noise = random.normal(0, 0.15, (PRODUCTS, DIMENSIONS)).astype(np.float32)
        self.vectors = {
            product.id: unit_rows(self._shelf[product.category_path] + own).astype(np.float16)
            for product, own in zip(self.products.values(), noise, strict=True)
        }

    def query_of(self, session: DemoSession) -> FloatArray | None:
        """Every fourth search has no vector, as if the encoder did not know its language."""
        first = self.products[session.item_ids[0]]
        return (
            None
            if zlib.crc32(session.session_id.encode()) % 4 == 0
            else self._shelf[first.category_path].astype(np.float32)
        )

    def candidates(self, session: DemoSession) -> retrieval_pb2.Candidates:
        products = [self.products[item_id] for item_id in session.item_ids]
        return retrieval_pb2.Candidates(
            scores=[1 / (place + 2) + (place < OF_TYPE) / 4 for place in range(len(products))],
            type_gains=[(place < OF_TYPE) / 4 for place in range(len(products))],
            dense_scores=[1 / (place + 3) for place in range(len(products))],
            lexical_scores=[place % 7 for place in range(len(products))],
            **self.columns(products),
        )

    def columns(self, products: Sequence[DemoProduct]) -> dict[str, Any]:
        return {
            "ids": [product.id for product in products],
            "prices": [float(product.price) for product in products],
            "stocks": [product.stock if place % 5 else -1 for place, product in enumerate(products)],
            "categories": [" > ".join(product.category_path) for product in products],
            "brands": [product.brand for product in products],
            "created_at_seconds": [int(product.created_at.timestamp()) for product in products],
            "vectors": vectors_to_proto(np.stack([self.vectors[product.id] for product in products]), MODEL),
            "review_sentiments": [len(product.title) % 5 / 4 for product in products],
        }

    async def show(self, session: DemoSession, who: dict[str, Any]) -> None:
        query = self.query_of(session)
        request = ranker_pb2.RankItemsRequest(
            candidates=self.candidates(session), session_id=session.session_id, ranking_id=session.session_id,
            query=session.query, query_vector=vectors_to_proto(query[None], MODEL) if query is not None else None,
            **who,
        )  # fmt: skip
        await self._stub.RankItems(request)
        shown = ranker_pb2.ShownPositions(ranking_id=session.session_id, positions=range(1, len(session.item_ids) + 1))
        await self._stub.RecordImpressions(ranker_pb2.RecordImpressionsRequest(shown=[shown]))

    async def record(self, event: DemoEvent, who: dict[str, Any]) -> None:
        message = event_pb2.Event(
            event_id=event.event_id, session_id=event.session_id, item_id=event.item_id, query=event.query,
            type=event_pb2.EventType.Value(f"EVENT_TYPE_{EventType(event.type).name}"), **who,
        )  # fmt: skip
        message.occurred_at.FromDatetime(event.time)
        products = [self.products[event.item_id]] if event.item_id else []
        items = retrieval_pb2.Candidates(**self.columns(products)) if products else None
        await self._stub.RecordEvents(ranker_pb2.RecordEventsRequest(events=[message], items=items))

    async def simulate(self, sessions: Sequence[DemoSession]) -> None:
        """In the order of time: a list before the events that answer it."""
        timeline: list[tuple[float, int, DemoSession | DemoEvent]] = []
        for session in sessions:
            timeline.append((session.shown_at.timestamp(), 0, session))
            timeline += [(event.time.timestamp(), 1, event) for event in session.events]
        for moment_s, _, what in sorted(timeline, key=lambda entry: entry[:2]):
            self._clock.now_s = moment_s
            is_visitor = int(what.user_id[-1]) % 3 == 0
            who: dict[str, Any] = {"visitor_id" if is_visitor else "user_id": what.user_id}
            if isinstance(what, DemoSession):
                await self.show(what, who)
            else:
                await self.record(what, who)


@dataclass
class Pair:
    """One page's features as they were logged, and as the replay gives them, in the order of the page."""

    page: Impressions
    logged: LoggedFeatures
    user: UserFeatures
    candidates: CandidateFeatures


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Pair], Examples]:
    """Every page with a replay of its moment, and the examples that training reads."""
    folder, replay_folder = tmp_path_factory.mktemp("ranker"), tmp_path_factory.mktemp("replay")
    shop, sessions = asyncio.run(simulation(folder))
    store, replay = SqliteProfileStore(folder), SqliteProfileStore(replay_folder)
    pages = [page for _, page in store.impressions_after("default", 0, 10_000)]
    assert len(pages) == len(sessions) > 60
    events = [event for _, event in store.events_after("default", 0, 10_000)]
    items = store.items("default", list(shop.products))
    pairs: list[Pair] = []
    for number, page in enumerate(pages):
        ranked_s = page.ranking.ranked_s
        while events and events[0].occurred_s < ranked_s:
            event = events.pop(0)
            replay.record([Batch("default", [event], [items[event.item_id]] if event.item_id else [])])
        request = request_of(page, replay, shop, sessions[page.ranking.ranking_id])
        user, candidates = features_of(request)
        logged, rows = page.ranking.logged, [list(request.item_ids).index(item_id) for item_id in page.ranking.item_ids]
        assert logged is not None
        in_order = CandidateFeatures(page.ranking.item_ids, candidates.vectors[rows], candidates.numbers[rows])
        pairs.append(Pair(page, logged, user, in_order))
        replay.record_impressions("default", [pages[number]])
    examples = ExampleReader(store, window_s=WINDOW_S).read(pages[-1].shown_s + 2 * WINDOW_S)
    store.close()
    replay.close()
    return pairs, examples


async def simulation(folder: Path) -> tuple[Shop, dict[str, DemoSession]]:
    clock, settings = Clock(), RankerSettings(data_dir=folder)
    store = build_store(settings)
    handler = RankerHandler(
        store,
        build_ranking_store(settings),
        build_models(settings, store),
        build_shopper_models(settings, store),
        build_count_store(settings),
        build_conversation_store(settings),
        settings,
        clock,
    )
    server = grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        shop = Shop(ranker_pb2_grpc.RankerServiceStub(channel), clock)
        catalogue = list(shop.products.values())
        sessions = list(simulate_sessions(build_shoppers(catalogue, SHOPPERS, SEED), catalogue, DAYS, SEED))
        await shop.simulate(sessions)
    await server.stop(None)
    handler.close()
    return shop, {session.session_id: session for session in sessions}


def request_of(page: Impressions, replay: SqliteProfileStore, shop: Shop, session: DemoSession) -> RankingRequest:
    """What the ranker was asked, with the history of the replay."""
    asked, now_s = shop.candidates(session), page.ranking.ranked_s
    scores, type_match = scores_and_type(asked)
    history = replay.user_history("default", page.person)
    return RankingRequest(
        item_ids=list(asked.ids),
        retrieval_scores=scores,
        vectors=unit_rows(np.stack([shop.vectors[item_id] for item_id in asked.ids]).astype(np.float32)),
        prices=np.array(asked.prices, np.float32),
        stocks=np.array(asked.stocks, np.float32),
        popularity=np.array(replay.popularity("default", list(asked.ids), now_s), np.float32),
        query=shop.query_of(session),
        profile=build_profile(history, MODEL, DIMENSIONS, now_s),
        categories=list(asked.categories),
        brands=list(asked.brands),
        user_history=history,
        model_version=MODEL,
        now_s=now_s,
        created_s=np.array(asked.created_at_seconds, np.float64),
        is_search=True,
        dense_scores=np.array(asked.dense_scores, np.float32),
        lexical_scores=np.array(asked.lexical_scores, np.float32),
        type_match=type_match,
        review_sentiments=np.array(asked.review_sentiments, np.float32),
    )


# They depend on counts that follow the log a moment later, on a trained model, and on what users declared, which no log
# has: contract tests compare what is logged of them with the ranker's lists, the model and the attributes.
NOT_OF_THE_LOG = ("neighbour_match", "neighbour_rank", "shopper_match", "shopper_rank", "attribute_match")


@pytest.mark.parametrize("name", [name for name in CANDIDATE_NUMBERS if name not in NOT_OF_THE_LOG])
def test_a_logged_feature_is_the_replayed_one(name: str, simulated: tuple[list[Pair], Examples]) -> None:
    """The same value for every candidate of every page, to the last bit; and it is not the same value everywhere."""
    pairs, _ = simulated
    column = CANDIDATE_NUMBERS.index(name)
    logged = np.concatenate([pair.logged.numbers[:, column] for pair in pairs])
    replayed = np.concatenate([pair.candidates.numbers[:, column] for pair in pairs])
    np.testing.assert_array_equal(logged, replayed)
    assert np.ptp(logged) > 0 or name in CONSTANT


# Every product of the demo shop has a price and a date, and each list is that of a query or a filter.
CONSTANT = ("price_known", "age_known", "is_search")


def test_the_logged_history_is_the_replayed_one(simulated: tuple[list[Pair], Examples]) -> None:
    """Items, types and numbers of the last events, to the last bit, of users and of visitors."""
    pairs, _ = simulated
    for pair in pairs:
        assert list(pair.logged.event_item_ids) == list(pair.user.item_ids)
        np.testing.assert_array_equal(pair.logged.event_types, pair.user.types)
        np.testing.assert_array_equal(pair.logged.event_numbers, pair.user.numbers)
    numbers = np.concatenate([pair.logged.event_numbers for pair in pairs])
    assert len(np.unique(numbers[:, EVENT_NUMBERS.index("age")])) > 100
    known = {bool(pair.page.ranking.visitor_id) for pair in pairs if len(pair.logged.event_item_ids)}
    assert known == {True, False}


@pytest.mark.parametrize("name", CONTEXT)
def test_the_logged_context_is_the_replayed_one(name: str, simulated: tuple[list[Pair], Examples]) -> None:
    """Every number of the context, to the last bit; and it is not the same everywhere."""
    pairs, _ = simulated
    column = CONTEXT.index(name)
    logged, replayed = ([getattr(p, of).context[column] for p in pairs] for of in ("logged", "user"))
    assert logged == replayed
    assert len(set(logged)) > 1


@pytest.mark.parametrize("name", ["long_term", "query"])
def test_a_logged_vector_is_the_replayed_one(name: str, simulated: tuple[list[Pair], Examples]) -> None:
    """The long-term vector and the query, rounded to float16; zero where there is none."""
    pairs, _ = simulated
    for pair in pairs:
        replayed = getattr(pair.user, name).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(getattr(pair.logged, name), replayed)
    assert {bool(getattr(pair.logged, name).any()) for pair in pairs} == {True, False}


def test_training_reads_what_was_served(simulated: tuple[list[Pair], Examples]) -> None:
    """The examples are the pages in order, with the features and the vectors of candidates and events of the replay."""
    pairs, examples = simulated
    assert examples.ranking_ids.tolist() == [pair.page.ranking.ranking_id for pair in pairs]
    for row, pair in enumerate(pairs):
        mine = examples.page == row
        np.testing.assert_array_equal(examples.numbers[mine], pair.logged.numbers)
        np.testing.assert_array_equal(examples.vectors[examples.item[mine]], pair.candidates.vectors)
        known = examples.event_items[row][examples.event_items[row] >= 0]
        np.testing.assert_array_equal(examples.vectors[known], pair.user.vectors)
        np.testing.assert_array_equal(examples.long_term[row], pair.logged.long_term)
        np.testing.assert_array_equal(examples.context[row], pair.user.context)
    assert examples.click.sum() > len(pairs) / 2
    assert examples.purchase.any()
