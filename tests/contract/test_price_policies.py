"""Price policies that control publishes reach pricing and the price publisher, which serve on without control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from kairos.control.v1 import control_pb2
from services.common.control_access import ControlAccessSettings
from services.common.published import PublishedMetrics
from services.pricing.domain.policy_set import PolicySet
from services.pricing.policies import FollowedPolicies
from services.pricing.settings import PricingSettings
from tests.contract.controls import Client, running
from tests.contract.test_pricing import item, money, quote, serving
from tests.fakes.waiting import until

# A publish is everywhere within a second; a busy machine may take longer.
SOON_S = 5.0


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        await until(condition)


async def publish(client: Client, id: str, content: dict[str, Any]) -> None:
    await client.publish(await client.create("price_policy", id, content))


@contextmanager
def following(port: int, folder: Path) -> Iterator[tuple[FollowedPolicies, PublishedMetrics]]:
    access = ControlAccessSettings(target=f"127.0.0.1:{port}", folder=folder)
    metrics = PublishedMetrics(CollectorRegistry(), "test")
    with closing(FollowedPolicies(PricingSettings(), access, metrics)) as policies:
        yield policies, metrics


async def test_policies_are_followed(tmp_path: Path) -> None:
    """A published policy is in use within a second, and after a restart with control down; the measures say so."""
    async with running(tmp_path / "control") as control:
        client = Client(control.port)
        with following(control.port, tmp_path / "one") as (one, metrics):
            await publish(client, "winter", {"maximum_discount": 0.1})
            await soon(lambda: one.of("default").default.id == "winter")
            assert metrics.measures()["test_control_connected"] == 1
        await client.channel.close()
    with following(1, tmp_path / "one") as (again, metrics):
        assert again.of("default").default.id == "winter"
        assert metrics.measures()["test_control_connected"] == 0


async def test_a_part_that_fails_does_not_end_the_following(tmp_path: Path) -> None:
    """An error that nobody expected is counted, and the snapshot is tried again."""
    failures = [RuntimeError("a defect")]

    def fails_once(snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        if failures:
            raise failures.pop()
        return lambda: None

    async with running(tmp_path / "control") as control:
        client = Client(control.port)
        access = ControlAccessSettings(target=f"127.0.0.1:{control.port}", folder=tmp_path / "one")
        metrics = PublishedMetrics(CollectorRegistry(), "test")
        with closing(FollowedPolicies(PricingSettings(), access, metrics, fails_once)) as policies:
            await publish(client, "winter", {"maximum_discount": 0.1})
            await soon(lambda: policies.of("default").default.id == "winter")
            assert metrics.measures()["test_refused_snapshots"] == 1
        await client.channel.close()


async def test_both_processes_bound_alike(tmp_path: Path) -> None:
    """Two processes that follow control by themselves come to the same set of policies."""
    async with running(tmp_path / "control") as control:
        client = Client(control.port)
        await publish(client, "winter", {"maximum_discount": 0.1, "period_hours": 24, "price_endings": [99]})
        await publish(client, "shoes", {"categories": ["Shoes"], "policy": "list-price"})
        sets = [await first_set(control.port, tmp_path / folder) for folder in ("one", "two")]
        assert sets[0] == sets[1]
        assert sets[0].of(["Shoes"]).name == "list-price"
        await client.channel.close()


async def first_set(port: int, folder: Path) -> PolicySet:
    with following(port, folder) as (policies, _):
        await soon(lambda: bool(policies.of("default").by_category))
        return policies.of("default")


async def test_a_quote_names_its_policy(tmp_path: Path) -> None:
    """A quote has the id of the policy that applies to the item's category, and the guardrail that held the offer."""
    (tmp_path / "policies.yaml").write_text(
        "policies: {shoes: {categories: [Shoes], maximum_discount: 0.05}, plain: {policy: list-price}}"
    )
    async with serving(tmp_path, policies=tmp_path / "policies.yaml") as stub:
        made = await quote(stub, item(stock=200, category_path=["Shoes", "Boots"]))
        assert (made.offer, made.policy_id, made.guardrail) == (money(9_500), "shoes", 10)
        assert made.explanation.endswith("A guardrail raised the offer to USD 95.00: the largest discount.")
        other = await quote(stub, item(stock=200))
        assert (other.offer, other.policy_id, other.model_version) == (money(10_000), "plain", "list-price@1")


async def test_a_quote_of_a_published_price(tmp_path: Path) -> None:
    """A quote of a price that was computed before repeats what held it, and the lowest price before a reduction."""
    async with serving(tmp_path) as stub:
        asked = item(stock=3, offer=money(9_500), guardrail=12, lowest_price_30_days=money(9_700))
        made = await quote(stub, asked)
        assert (made.offer, made.guardrail, made.lowest_price_30_days) == (money(9_500), 12, money(9_700))
        assert made.explanation == "A guardrail held the offer at USD 95.00: the largest change in a day."
        listed = await quote(stub, item(offer=money(10_000), lowest_price_30_days=money(9_700)))
        assert not listed.HasField("lowest_price_30_days")
