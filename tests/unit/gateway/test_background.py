"""What the gateway does in the background: popular items are cached, rankings and impressions are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from kairos.common.v1 import offer_pb2, product_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import BudgetExpired, Unavailable
from services.common.filters import PriceRange, ProductFilter
from services.common.money import Money
from services.gateway.adapters.stage_clients import connect
from services.gateway.background.impressions import ImpressionLog
from services.gateway.background.popular_items import PopularItems
from services.gateway.background.rankings import OVERHEAD_BYTES, RankingWriter
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.metrics import Metrics
from services.gateway.ports import StageStubs
from services.gateway.request_info import RequestInfo
from services.gateway.settings import GatewaySettings, LimitSettings, SearchSettings, StagesSettings
from services.gateway.stage_calls import StageAccess
from services.gateway.stage_guard import Origin
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

SETTINGS = SearchSettings(popular_items=4)


@dataclass
class Surroundings:
    """Stages on real ports, and what the background work uses."""

    stages: FakeStages
    stubs: StageStubs
    access: StageAccess
    metrics: Metrics
    supervisor: Supervisor
    # Tenants for which computed prices are switched off.
    at_list_prices: set[str]

    def failures(self, task: str) -> float | None:
        return self.metrics.registry.get_sample_value("kairos_gateway_background_failures_total", {"task": task})

    def held(self, queue: str) -> float | None:
        return self.metrics.registry.get_sample_value("kairos_gateway_background_bytes", {"queue": queue})

    def dropped(self, what: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"kairos_gateway_{what}_dropped_total")

    def popular_items(self) -> PopularItems:
        return PopularItems(self.stubs, self.access, SETTINGS, self.supervisor)

    def impressions(self, most_bytes: float = 1e6) -> ImpressionLog:
        return ImpressionLog(self.stubs, self.access, self.metrics, self.supervisor, most_bytes)

    def rankings(self, most_bytes: float = 1e6) -> RankingWriter:
        return RankingWriter(self.stubs, self.access, self.metrics, self.supervisor, most_bytes)


@pytest.fixture
async def around() -> AsyncIterator[Surroundings]:
    stages, defaults = FakeStages(), StagesSettings()
    await stages.start()
    targets = {n: getattr(defaults, n).model_copy(update={"target": t}) for n, t in stages.targets.items()}
    # The circuit never opens: each test sees its own calls only.
    settings = GatewaySettings(stages=StagesSettings(**targets), limits=LimitSettings(failures_to_open=1_000))
    clients, metrics = connect(settings), Metrics()
    supervisor = Supervisor(metrics, pause_s=0.0)
    at_list_prices = set[str]()
    access = StageAccess(settings, metrics, list_price_only=at_list_prices.__contains__)
    yield Surroundings(stages, clients.stubs, access, metrics, supervisor, at_list_prices)
    supervisor.close()
    await clients.close()
    await stages.stop()


def ranking(id: str) -> ranker_pb2.StoreRankingRequest:
    return ranker_pb2.StoreRankingRequest(ranking_id=id, item_ids=["p1", "p2"], scores=[2, 1], model_version="m")


def shown(id: str) -> ranker_pb2.ShownPositions:
    return ranker_pb2.ShownPositions(ranking_id=id, positions=[1, 2])


async def store(around: Surroundings, *ids: str) -> None:
    writer = around.rankings()
    for id in ids:
        writer.store("default", ranking(id))
    await writer.close()


# --- popular items


def popular_ids(items: PopularItems, narrowing: ProductFilter | None = None) -> list[str]:
    return list(items.matching("shop", narrowing or ProductFilter()))


async def test_most_acted_on_then_newest(around: Surroundings) -> None:
    """The items that users act on most come first; the newest fill up to the configured number."""
    items = around.popular_items()
    await items.refresh("shop")
    assert popular_ids(items) == ["p7", "p3", "p1", "p2"]
    newest = next(r for r in around.stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest))
    assert newest.sort == product_pb2.SORT_ORDER_NEWEST
    assert list(newest.excluded_ids) == ["p7", "p3"]
    assert newest.context.tenant == "shop"


async def test_only_matching_items(around: Surroundings) -> None:
    """Only items that match the filter and are not excluded are returned, in the order of their popularity."""
    around.stages.retrieval.stored["p3"][0].brand = "Else"
    items = around.popular_items()
    await items.refresh("shop")
    assert popular_ids(items, ProductFilter(brands=("b",))) == ["p7", "p1", "p2"]
    assert list(items.matching("shop", ProductFilter(), lambda product: product.id == "p7")) == ["p3", "p1", "p2"]
    assert items.matching("other", ProductFilter()) == {}


async def test_computed_prices_are_switched_off(around: Surroundings) -> None:
    """From that moment on cached items have the shop's prices, for filters too; sales and other shops stay."""
    retrieval, items = around.stages.retrieval, around.popular_items()
    retrieval.offers = {"p7": 5.0, "p3": 5.0, "p1": 500.0}
    retrieval.guardrails = dict.fromkeys(["p7", "p1"], offer_pb2.PRICE_GUARDRAIL_NONE)
    cheap = ProductFilter(price=PriceRange(None, Money("USD", Decimal(6))))
    for tenant in ("shop", "other"):
        await items.refresh(tenant)
    around.at_list_prices.add("shop")
    assert list(items.matching("shop", cheap)) == ["p3"]
    assert list(items.matching("other", cheap)) == ["p7", "p3"]
    offers = items.offers("shop")
    assert offers["p7"].price == offers["p7"].list_price
    # An increased one too.
    assert items.offers("other")["p1"].price == Money("USD", Decimal("500.00"))
    assert offers["p1"].price == Money("USD", Decimal("10.00"))
    assert offers["p3"].price == Money("USD", Decimal("5.00"))


async def test_a_tracked_tenant_is_filled(around: Surroundings) -> None:
    """A tracked tenant has popular items soon; to track it again changes nothing."""
    items = around.popular_items()
    items.track("shop")
    items.start()
    await until(lambda: popular_ids(items) != [])
    items.track("shop")
    assert len(popular_ids(items)) == 4


@pytest.mark.parametrize("stage", ["ranker", "retrieval"])
async def test_a_stage_that_is_down_empties_nothing(around: Surroundings, stage: str) -> None:
    """While a refresh fails, the cached items stay."""
    items = around.popular_items()
    await items.refresh("shop")
    await around.stages.worsen(stage, "down")
    with pytest.raises(Unavailable):
        await items.refresh("shop")
    assert popular_ids(items) == ["p7", "p3", "p1", "p2"]


# --- rankings


async def test_a_ranking_is_sent_at_once(around: Surroundings) -> None:
    """The ranking is stored when the task ends, and close waits for it."""
    writer = around.rankings()
    task = writer.store("shop", ranking("r"))
    assert task is not None
    await task
    assert around.stages.ranker.rankings["r"].item_ids == ["p1", "p2"]
    writer.store("shop", ranking("s"))
    await writer.close()
    assert "s" in around.stages.ranker.rankings


async def test_a_ranking_that_is_not_stored(around: Surroundings) -> None:
    """A failed write is counted, and nothing is raised."""
    around.stages.ranker.state = "error"
    await store(around, "r")
    assert around.dropped("rankings") == 1


async def test_rankings_in_flight_are_bounded(around: Surroundings) -> None:
    """Beyond the bound a ranking is dropped at once and counted."""
    around.stages.ranker.state = "slow"
    writer = around.rankings()
    tasks = [writer.store("shop", ranking(f"r{n}")) for n in range(260)]
    assert [task is None for task in tasks] == [False] * 256 + [True] * 4
    assert around.dropped("rankings") == 4
    for task in tasks:
        if task is not None:
            task.cancel()


async def test_rankings_in_flight_are_bounded_by_bytes(around: Surroundings) -> None:
    """Rankings of many long ids are dropped before their number reaches its bound; ended calls make room."""
    size = ranking("r").ByteSize() + OVERHEAD_BYTES
    writer = around.rankings(most_bytes=3 * size)
    tasks = [writer.store("shop", ranking("r")) for _ in range(5)]
    assert [task is None for task in tasks] == [False] * 3 + [True] * 2
    assert around.held("rankings") == 3 * size
    await writer.close()
    assert (around.held("rankings"), around.dropped("rankings")) == (0, 2)


# --- impressions


async def test_impressions_reach_the_ranker(around: Surroundings) -> None:
    """Close sends everything that was put before, each tenant's entries in one call."""
    await store(around, "r1", "r2", "r3")
    log = around.impressions()
    for tenant, id in (("one", "r1"), ("other", "r2"), ("one", "r3")):
        log.put(tenant, shown(id))
    await log.close()
    assert around.stages.ranker.shown == [("one", "r1", [1, 2]), ("one", "r3", [1, 2]), ("other", "r2", [1, 2])]
    assert around.dropped("impressions") == 0


async def test_impressions_wait_for_their_ranking(around: Surroundings) -> None:
    """The positions of a ranking are sent after the ranking itself is stored."""
    log, writer = around.impressions(), around.rankings()

    async def store_late() -> None:
        await asyncio.sleep(0.5)
        await store(around, "r")

    log.put("one", shown("r"), asyncio.create_task(store_late()))
    await log.close()
    assert around.stages.ranker.shown == [("one", "r", [1, 2])]
    await writer.close()


async def test_impressions_of_an_expired_ranking(around: Surroundings) -> None:
    """Entries whose ranking the ranker does not have are counted as dropped; the others are logged."""
    await store(around, "r")
    log = around.impressions()
    for id in ("gone", "r"):
        log.put("one", shown(id))
    await log.close()
    assert around.stages.ranker.shown == [("one", "r", [1, 2])]
    assert around.dropped("impressions") == 1


async def test_a_failed_delivery_is_tried_again(around: Surroundings) -> None:
    """A ranker that fails for a moment costs no impressions."""
    await store(around, "r")
    log, around.stages.ranker.state = around.impressions(), "error"
    log.put("one", shown("r"))
    await until(lambda: isinstance(around.stages.ranker.requests[-1], ranker_pb2.RecordImpressionsRequest))
    around.stages.ranker.state = "well"
    await log.close()
    assert around.stages.ranker.shown == [("one", "r", [1, 2])]
    assert around.dropped("impressions") == 0


async def test_what_cannot_be_delivered_is_counted(around: Surroundings) -> None:
    """Impressions that three tries did not deliver are dropped and counted; later ones are delivered."""
    await store(around, "r")
    log, around.stages.ranker.state = around.impressions(), "error"
    log.put("one", shown("r"))
    await until(lambda: around.dropped("impressions") == 1)
    around.stages.ranker.state = "well"
    log.put("one", shown("r"))
    await log.close()
    assert around.stages.ranker.shown == [("one", "r", [1, 2])]


async def test_a_full_queue_drops_and_does_not_wait(around: Surroundings) -> None:
    """Beyond its bytes the queue accepts nothing more; what was dropped is counted, and what was sent makes room."""
    await store(around, "r")
    size = shown("r").ByteSize() + OVERHEAD_BYTES
    log = around.impressions(most_bytes=10 * size)
    for _ in range(17):
        log.put("one", shown("r"))
    assert (around.dropped("impressions"), around.held("impressions")) == (7, 10 * size)
    await log.close()
    assert around.held("impressions") == 0
    assert len(around.stages.ranker.shown) == 10


# --- the supervisor


async def test_work_that_fails_starts_again(around: Surroundings) -> None:
    """Work that raises, or that returns, is started again; each failure is counted under its task."""
    runs = list[str]()

    async def work() -> None:
        runs.append("run")
        if len(runs) == 1:
            raise ZeroDivisionError
        if len(runs) == 3:
            await asyncio.Event().wait()

    task = around.supervisor.keep("popular_items", work)
    await until(lambda: len(runs) == 3)
    assert around.failures("popular_items") == 2
    around.supervisor.close()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_work_that_is_done_once(around: Surroundings) -> None:
    """A failure of work that is done once is counted, and nobody who waits for it sees it."""

    async def work() -> None:
        raise ZeroDivisionError

    await around.supervisor.once("clicks", work)
    assert (around.failures("clicks"), around.failures("impressions")) == (1, 0)


# --- stage calls


async def test_a_probe_ignores_the_circuit(around: Surroundings) -> None:
    """A probe is sent while the circuit is open, and its answer does not close the circuit."""
    breaker = around.access.guards[Stage.RANKER].breaker
    while not breaker.is_open:
        breaker.ended(True, breaker.generation, time.monotonic() + 60)
    calls = around.access.for_background("probe", "default", 1.0)
    assert await calls.probe(Stage.RANKER, around.stubs.ranker.RankItems, ranker_pb2.RankItemsRequest())
    assert breaker.is_open
    with pytest.raises(Unavailable):
        await calls.call(Stage.RANKER, around.stubs.ranker.RankItems, ranker_pb2.RankItemsRequest())


async def test_background_latencies_are_separate(around: Surroundings) -> None:
    """Slow background calls do not make a shopper's request skip the same method, and hold none of its places."""
    guard = around.access.guards[Stage.RANKER]
    background = guard.kind("GetRankingRequest", Origin.BACKGROUND)
    background.answered(10.0, True, time.monotonic())
    background.sent(time.monotonic())
    around.stages.ranker.affected = ranker_pb2.RankItemsRequest
    await store(around, "r")
    calls = around.access.for_background("clicks", "default", 1.0)
    message = ranker_pb2.GetRankingRequest(ranking_id="r")
    with pytest.raises(BudgetExpired):
        await calls.call(Stage.RANKER, around.stubs.ranker.GetRanking, message)
    shopper = around.access.for_read(RequestInfo(), "")
    assert (await shopper.call(Stage.RANKER, around.stubs.ranker.GetRanking, message)).ranked_count == 2
    assert background.places is None
