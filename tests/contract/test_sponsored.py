"""SponsoredService over real gRPC: labels, budgets, caps, bad input, and campaigns that follow control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from pydantic import SecretStr

from kairos.common.v1 import common_pb2
from kairos.control.v1 import control_pb2
from kairos.sponsored.v1 import sponsored_pb2, sponsored_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.control.domain.leases import LeaseRules
from services.control.settings import ApiKey
from services.sponsored.settings import FrequencySettings, PageSettings, SponsoredSettings
from services.sponsored.wiring import Sponsored, build_sponsored
from tests.contract.controls import CONTENTS, Client, digest_of, key_of, running, wrong_fields
from tests.fakes.budgets import SharedBudgets
from tests.fakes.waiting import until

KIND = sponsored_pb2.TargetingKind
# 2026-01-05, a Monday, 12:00 UTC.
NOON_S = 1_767_614_400.0


@dataclass
class Clock:
    now_s: float = NOON_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Stage:
    """A service with campaigns of the tenant "default" and a clock that stands still. Leases are renewed by `turn`."""

    sponsored: Sponsored
    clock: Clock
    owner: SharedBudgets
    stub: Any
    published: list[control_pb2.Resource] = field(default_factory=list)

    def publish(self, id: str, **fields: Any) -> None:
        document = {"kind": "RESOURCE_KIND_CAMPAIGN", "id": id, "campaign": {**CONTENTS["campaign"], **fields}}
        self.published.append(ParseDict(document, control_pb2.Resource()))
        snapshot = control_pb2.Snapshot(tenant="default", version=1, resources=self.published)
        self.sponsored.campaigns.prepare(snapshot)()

    async def select(self, **fields: Any) -> list[sponsored_pb2.SponsoredPlace]:
        return list((await self.stub.SelectAds(asking(**fields))).places)

    async def ready(self, **fields: Any) -> None:
        """Until the campaigns that the request finds have a lease."""
        await self.select(**fields)
        await asyncio.to_thread(self.sponsored.budgets.turn)


def asking(**fields: Any) -> sponsored_pb2.SelectAdsRequest:
    """Four organic results, then the product of the usual campaign."""
    usual: dict[str, Any] = {
        "product_ids": ["w", "x", "y", "z", "p1"], "relevances": [0.9] * 5, "click_probabilities": [0.05] * 5,
        "page_results": 5, "queries": ["winter coat"],
    }  # fmt: skip
    return sponsored_pb2.SelectAdsRequest(**{**usual, **fields})


@asynccontextmanager
async def serving(**fields: Any) -> AsyncIterator[Stage]:
    """With its budgets from control, if there is one."""
    clock = Clock()
    owner, settings = SharedBudgets(clock, LeaseRules(lease_s=7_200)), SponsoredSettings(turn_s=3_600, **fields)
    if settings.control.target:
        sponsored = build_sponsored(settings)
    else:
        sponsored = build_sponsored(settings, clock, owner.of_replica("one"))
    server = grpc.aio.server()
    sponsored_pb2_grpc.add_SponsoredServiceServicer_to_server(sponsored.handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Stage(sponsored, clock, owner, sponsored_pb2_grpc.SponsoredServiceStub(channel))
    await server.stop(None)
    await asyncio.to_thread(sponsored.close)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with serving() as made:
        yield made


async def test_an_ad_has_its_label(stage: Stage) -> None:
    """Advertiser, payer, the parameters that the request meets, and what a click costs."""
    queries = [{"contains": "coat"}, {"equals": "winter jacket"}]
    audience = [{"attribute": "Style", "values": ["Classic", "Modern"]}]
    stage.publish("spring", targets={"queries": queries, "audience": audience})
    attributes = [sponsored_pb2.DeclaredAttribute(name="style", values=["classic"])]
    await stage.ready(attributes=attributes)
    (place,) = await stage.select(attributes=attributes)
    assert (place.product_id, place.position, place.campaign_id) == ("p1", 1, "spring")
    assert (place.advertiser, place.payer) == ("Acme", "Acme Inc.")
    assert [(one.kind, one.value) for one in place.targeting] == [
        (KIND.TARGETING_KIND_RELEVANCE, ""), (KIND.TARGETING_KIND_QUERY, "coat"),
        (KIND.TARGETING_KIND_AUDIENCE, "Style: Classic"),
    ]  # fmt: skip
    assert place.click_price == common_pb2.Money(currency_code="EUR", nanos=50_000_000)
    assert place.expected_clicks == pytest.approx(0.05)


async def test_the_price_is_the_second_one(stage: Stage) -> None:
    """The higher of two bids for one product pays the lower one. Pacing begins with half of the bids."""
    stage.publish("high")
    stage.publish("low", advertiser="Bolt", bid={"currency_code": "EUR", "nanos": 300_000_000})
    await stage.ready()
    (place,) = await stage.select()
    assert (place.campaign_id, place.click_price.nanos) == ("high", 150_000_000)


async def test_without_campaigns_the_page_is_organic(stage: Stage) -> None:
    """Also for a tenant without any, and for a query that a negative keyword names."""
    assert not await stage.select()
    stage.publish("spring", negative_keywords=["winter"])
    await stage.ready(queries=["coat"])
    assert await stage.select(queries=["coat"])
    assert not await stage.select(queries=["winter coat"])
    assert not await stage.select(queries=["coat"], context=common_pb2.RequestContext(tenant="other"))


async def test_pins_and_products_that_are_not_advertised(stage: Stage) -> None:
    """A pinned position is not sold, and an excluded product takes no part."""
    stage.publish("spring")
    await stage.ready()
    assert [place.position for place in await stage.select()] == [1]
    assert not await stage.select(pinned_positions=[1], page_results=5, excluded_ids=["x", "p1"])
    # The ad would have to stand behind its organic place.
    assert not await stage.select(pinned_positions=[1, 4])


async def test_a_person_sees_a_campaign_so_often() -> None:
    """Twice; others still see it, and the person the next day."""
    async with serving(frequency=FrequencySettings(most=2)) as stage:
        stage.publish("spring")
        await stage.ready()
        assert [bool(await stage.select(person_id="anna")) for _ in range(3)] == [True, True, False]
        assert await stage.select(person_id="ben")
        stage.clock.now_s += 86_400
        await stage.ready()
        assert await stage.select(person_id="anna")


async def test_a_spent_budget_ends_the_ads(stage: Stage) -> None:
    """Clicks worth the daily budget: no ad until the next day."""
    stage.publish("spring", daily_budget={"currency_code": "EUR", "units": 1})
    stage.owner.bill("spring", on_day=100)
    await stage.ready()
    assert not await stage.select()
    stage.clock.now_s += 86_400
    stage.owner.bill("spring", on_day=0)
    await stage.ready()
    assert await stage.select()


async def test_a_total_budget_ends_the_campaign(stage: Stage) -> None:
    """What is owed for all days counts."""
    stage.publish("spring", daily_budget={"currency_code": "EUR", "units": 1},
                  total_budget={"currency_code": "EUR", "units": 1})  # fmt: skip
    stage.owner.bill("spring", in_all=100)
    await stage.ready()
    assert not await stage.select()


async def test_a_lease_is_spent_by_expected_cost(stage: Stage) -> None:
    """A tenth of 20 euros is leased: 800 ads at 5 % of 5 cents; then none until the next turn."""
    stage.publish("spring")
    await stage.ready()
    shown = 0
    while await stage.select():
        shown += 1
    assert 795 <= shown <= 801
    await asyncio.to_thread(stage.sponsored.budgets.turn)
    assert await stage.select()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"product_ids": ["w", "x", "y", "z", "w"]}, "product_ids[4]"),
        ({"product_ids": ["w", "x", "y", "z", ""]}, "product_ids[4]"),
        ({"relevances": [0.9] * 4}, "relevances"),
        ({"relevances": [0.9, 0.9, 0.9, 0.9, 1.5]}, "relevances[4]"),
        ({"click_probabilities": [0.9, 0.9, 0.9, 0.9, float("nan")]}, "click_probabilities[4]"),
        ({"page_results": 0}, "page_results"),
        ({"queries": ["q"] * 5}, "queries"),
        ({"queries": ["q" * 513]}, "queries[0]"),
        ({"category": "c" * 1_046}, "category"),
        ({"placement": "p" * 65}, "placement"),
        ({"person_id": "p" * 129}, "person_id"),
        ({"pinned_positions": [1, 6]}, "pinned_positions[1]"),
        ({"excluded_ids": ["w"] * 1_001}, "excluded_ids"),
        ({"attributes": [sponsored_pb2.DeclaredAttribute(name="n" * 65)]}, "attributes[0].name"),
        ({"attributes": [sponsored_pb2.DeclaredAttribute(name="n", values=["v"] * 17)]}, "attributes[0].values"),
    ],
)
async def test_bad_input_names_the_field(stage: Stage, fields: dict[str, Any], field: str) -> None:
    """Each is INVALID_ARGUMENT, and counts as no request."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.select(**fields)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(wrong_fields(caught.value)) == [field]
    assert stage.sponsored.measures()["kairos_sponsored_requests"] == 0


async def test_campaigns_and_budgets_follow_control(tmp_path: Path) -> None:
    """A published campaign has ads, by a lease from control. With control down they go on until the lease ends; a
    replica that starts then knows the campaigns, and its pages are organic. An archived campaign has no ads.
    """
    keys = [ApiKey(sha256=digest_of(role), name=role, tenant="*", role=role) for role in ("admin", "recorder")]
    async with running(tmp_path / "control", *keys) as control:
        access = ControlAccessSettings(
            target=f"127.0.0.1:{control.port}", api_key=SecretStr(key_of("recorder")), folder=tmp_path / "published"
        )
        admin = Client(control.port, "admin")
        draft = await admin.create("campaign", "spring", CONTENTS["campaign"], tenant="default")
        await admin.publish(draft, tenant="default")
        async with serving(control=access) as stage:
            await until(lambda: bool(stage.sponsored.campaigns.of("default").campaigns))
            await stage.ready()
            assert await stage.select()
            await admin.channel.close()
            await control.stop()
            await stage.ready()
            assert await stage.select()
            snapshot = control_pb2.Snapshot(tenant="default", version=2)
            stage.sponsored.campaigns.prepare(snapshot)()
            assert not await stage.select()
    async with serving(control=access) as stage:
        await stage.ready()
        assert not await stage.select()
        assert stage.sponsored.campaigns.of("default").campaigns
        assert stage.sponsored.measures()["kairos_sponsored_lease_failures"] == 1


def test_positions_are_ascending() -> None:
    """A list in another order is refused, with the remedy."""
    with pytest.raises(ValueError, match="sort them"):
        PageSettings(positions=(4, 1))
