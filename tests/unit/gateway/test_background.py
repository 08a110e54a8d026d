"""What the gateway does beside its requests: popular items into memory, impressions out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
import pytest

from kairos.common.v1 import event_pb2, product_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.rpc import CallContext
from services.gateway.adapters.stage_clients import StageClients, connect
from services.gateway.impressions import ImpressionLog
from services.gateway.memory import Memory
from services.gateway.metrics import Metrics
from services.gateway.popular import PopularItems
from services.gateway.settings import GatewaySettings, SearchSettings, StagesSettings
from tests.fakes.stages import FakeRanker, FakeStages

SETTINGS = SearchSettings(popular_items=4)


class UnsureRanker(FakeRanker):
    """Its store is not there for the first `failures` impressions."""

    failures = 0

    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest, grpc_context: CallContext
    ) -> ranker_pb2.RecordImpressionsResponse:
        if self.failures:
            self.failures -= 1
            grpc_context.set_code(grpc.StatusCode.UNAVAILABLE)
            return ranker_pb2.RecordImpressionsResponse()
        return await super().RecordImpressions(request, grpc_context)


@dataclass
class Surroundings:
    """Everything around the two: stages on real ports, a memory, metrics."""

    stages: FakeStages
    ranker: UnsureRanker
    clients: StageClients
    memory: Memory = field(default_factory=lambda: Memory(SETTINGS))
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def dropped(self) -> float | None:
        return self.metrics.registry.get_sample_value("kairos_gateway_impressions_dropped_total")

    def logged(self) -> list[tuple[str, list[str]]]:
        """(tenant, ranking ids) of each message that the ranker got."""
        return [
            (request.context.tenant, [entry.ranking_id for entry in request.impressions])
            for request in self.ranker.requests
            if isinstance(request, ranker_pb2.RecordImpressionsRequest)
        ]

    def popular_ids(self, tenant: str) -> list[str]:
        return [product.id for product in self.memory.popular(tenant, product_pb2.ProductFilter())]


@pytest.fixture
async def around() -> AsyncIterator[Surroundings]:
    ranker = UnsureRanker()
    stages, defaults = FakeStages(ranker=ranker), StagesSettings()
    await stages.start()
    targets = {n: getattr(defaults, n).model_copy(update={"target": t}) for n, t in stages.targets.items()}
    clients = connect(GatewaySettings(stages=StagesSettings(**targets)))
    yield Surroundings(stages, ranker, clients)
    await clients.close()
    await stages.stop()


@pytest.fixture
async def popular(around: Surroundings) -> AsyncIterator[PopularItems]:
    items = PopularItems(around.clients, around.memory, SETTINGS)
    yield items
    items.close()


async def soon(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens behind a port
            await asyncio.sleep(0.01)


async def test_most_acted_on_then_newest(around: Surroundings, popular: PopularItems) -> None:
    """What users act on comes first; the newest of the catalogue fill up to the configured number."""
    await popular.refresh("shop")
    assert around.popular_ids("shop") == ["p7", "p3", "p1", "p2"]
    newest = next(r for r in around.stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest))
    assert newest.sort == product_pb2.SORT_ORDER_NEWEST
    assert list(newest.excluded_ids) == ["p7", "p3"]
    assert newest.context.tenant == "shop"


async def test_a_new_tenant_is_filled_by_itself(around: Surroundings) -> None:
    """A tenant that was seen has popular items soon, without being asked for."""
    around.memory.track("shop")
    items = PopularItems(around.clients, around.memory, SETTINGS)
    await soon(lambda: around.popular_ids("shop") != [])
    items.close()


@pytest.mark.parametrize("stage", ["ranker", "retrieval"])
async def test_a_stage_that_is_down_empties_nothing(around: Surroundings, popular: PopularItems, stage: str) -> None:
    """While a refresh fails, what is in memory stays."""
    await popular.refresh("shop")
    await around.stages.worsen(stage, "down")
    with pytest.raises(grpc.aio.AioRpcError):
        await popular.refresh("shop")
    assert around.popular_ids("shop") == ["p7", "p3", "p1", "p2"]


async def test_impressions_reach_the_ranker(around: Surroundings) -> None:
    """What was put before the end is delivered by close, each tenant's own in one message."""
    log = ImpressionLog(around.clients, around.metrics)
    for tenant, ranking_id in (("one", "r1"), ("other", "r2"), ("one", "r3")):
        log.put(tenant, event_pb2.Impressions(ranking_id=ranking_id, item_ids=["p1"]))
    await log.close()
    assert around.logged() == [("one", ["r1", "r3"]), ("other", ["r2"])]
    assert around.dropped == 0


async def test_a_failed_delivery_is_tried_again(around: Surroundings) -> None:
    """A ranker that is away for a moment costs no impressions."""
    around.ranker.failures = 1
    log = ImpressionLog(around.clients, around.metrics)
    log.put("one", event_pb2.Impressions(ranking_id="r1", item_ids=["p1"]))
    await log.close()
    assert around.logged() == [("one", ["r1"])]
    assert around.dropped == 0


async def test_what_cannot_be_delivered_is_counted(around: Surroundings) -> None:
    """Impressions that a second try did not deliver are dropped and counted; later ones are delivered."""
    around.ranker.failures = 2
    log = ImpressionLog(around.clients, around.metrics)
    log.put("one", event_pb2.Impressions(ranking_id="r1", item_ids=["p1"]))
    await soon(lambda: around.dropped == 1)
    log.put("one", event_pb2.Impressions(ranking_id="r2", item_ids=["p1"]))
    await log.close()
    assert around.logged() == [("one", ["r2"])]


async def test_a_full_queue_costs_impressions_not_time(around: Surroundings) -> None:
    """Beyond its bound the queue takes nothing more: putting never waits, and what was dropped is counted."""
    log = ImpressionLog(around.clients, around.metrics)
    shown = event_pb2.Impressions(ranking_id="r", item_ids=["p1"])
    for _ in range(10_007):
        log.put("one", shown)
    assert around.dropped == 7
    log._sender.cancel()
