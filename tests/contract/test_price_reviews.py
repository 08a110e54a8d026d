"""Large changes of prices are reviews in control: the publisher asks, a person decides, the next look follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from kairos.common.v1 import product_pb2
from kairos.control.v1 import control_pb2
from services.common.control_access import ControlAccessSettings
from services.common.gateway_access import GatewayAccessSettings
from services.common.published import PublishedMetrics
from services.control.settings import ApiKey
from services.pricing.policies import FollowedPolicies
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.grpc_reviews import GrpcReviews
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from services.pricing.settings import PricingSettings
from tests.contract.controls import Client, digest_of, key_of, running
from tests.contract.test_price_publisher import Clock, usd
from tests.fakes.shop_gateway import FakeShopGateway, serving
from tests.fakes.waiting import until

SOON_S = 10.0
# The markdown for overstock is 10 %.
POLICY = {"period_hours": 24, "review_above": 0.05}
REVIEW = control_pb2.RESOURCE_KIND_REVIEW


@dataclass
class Worker:
    """A publisher, which uses its state in a thread of its own."""

    publisher: PricePublisher
    reviews: GrpcReviews
    metrics: PublisherMetrics
    thread: ThreadPoolExecutor

    async def work(self) -> None:
        while not await asyncio.get_running_loop().run_in_executor(self.thread, self.publisher.step):
            pass

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"kairos_price_publisher_{name}")


@asynccontextmanager
async def worker(folder: Path, gateway: int, control: int, key: str = "") -> AsyncIterator[Worker]:
    metrics, loop = PublisherMetrics(), asyncio.get_running_loop()
    access = ControlAccessSettings(target=f"127.0.0.1:{control}", folder=folder / "published", api_key=SecretStr(key))
    watched = PublishedMetrics(CollectorRegistry(), "test")
    with (
        ThreadPoolExecutor(1) as thread,
        closing(GrpcShopGateway(GatewayAccessSettings(target=f"127.0.0.1:{gateway}"))) as shop,
        closing(GrpcReviews(access, "default")) as reviews,
        closing(FollowedPolicies(PricingSettings(), access, watched, reviews.prepare)) as policies,
    ):
        await soon(lambda: policies.of("default").default.id == "all")
        state = await loop.run_in_executor(thread, SqlitePublisherState, folder)
        made = PricePublisher(shop, state, lambda: policies.of("default"), metrics, Clock(), reviews)
        yield Worker(made, reviews, metrics, thread)
        await loop.run_in_executor(thread, state.close)


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        await until(condition)


async def decide(client: Client, found: control_pb2.Resource, decision: str) -> None:
    found.review.decision = control_pb2.ReviewDecision.Value(f"REVIEW_DECISION_{decision}")
    updated = await client.call("UpdateResource", control_pb2.UpdateResourceRequest(resource=found))
    await client.publish(updated.resource)


async def waiting(client: Client) -> list[control_pb2.Resource]:
    answer = await client.call("ListResources", control_pb2.ListResourcesRequest(kind=REVIEW))
    return list(answer.resources)


async def test_a_change_is_asked_and_followed(tmp_path: Path) -> None:
    """The old price stays until the review is approved; then it changes at the next look. A review is asked once."""
    shop = FakeShopGateway()
    shop.put(product_pb2.Product(id="a", title="a", price=usd(10_000), stock=200))
    async with running(tmp_path / "control") as control:
        client = Client(control.port)
        await client.publish(await client.create("price_policy", "all", POLICY))
        with serving(shop) as port:
            async with worker(tmp_path / "publisher", port, control.port) as one:
                await one.work()
                assert shop.published("a") is None
                (found,) = await waiting(client)
                assert found.review.question == "Change the price of 'a' from USD 100.00 to USD 90.00 (-10%)?"
                assert found.review.subject_id == "a"
                assert one.metric("waiting_reviews") == 1
            async with worker(tmp_path / "publisher", port, control.port) as again:
                await again.work()
                assert len(await waiting(client)) == 1
                await decide(client, found, "APPROVED")
                await soon(lambda: again.reviews.decided() == {found.id: True})
                await again.work()
                assert shop.published("a") == usd(9_000)
                assert again.metric("waiting_reviews") == 0
        await client.channel.close()


async def test_without_its_role_nothing_changes(tmp_path: Path) -> None:
    """With a key that may not ask, the price stays, the failure is counted, and everything else is published."""
    keys = [ApiKey(sha256=digest_of(name), name=name, tenant="*", role=name) for name in ("viewer", "admin")]
    shop = FakeShopGateway()
    shop.put(product_pb2.Product(id="a", title="a", price=usd(10_000), stock=200))
    async with running(tmp_path / "control", *keys) as control:
        client = Client(control.port, "admin")
        await client.publish(await client.create("price_policy", "all", POLICY))
        with serving(shop) as port:
            async with worker(tmp_path / "publisher", port, control.port, key_of("viewer")) as one:
                await one.work()
                assert shop.published("a") is None
                assert one.metric("review_failures_total") == 1
                assert one.metric("waiting_reviews") == 0
        await client.channel.close()
