"""Prices belong to products: nothing about a person reaches what computes, quotes or publishes them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from google.protobuf.message import Message

from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.gateway_access import GatewayAccessSettings
from services.gateway.settings import BudgetSettings
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.learning.prices import LearnedPrices
from services.pricing.learning.settings import LearningSettings
from services.pricing.learning.sqlite_table import demand_table
from services.pricing.learning.wiring import consumer
from services.pricing.policies import PricePolicies
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from services.pricing.settings import PricingSettings
from tests.contract.gateways import running_gateway, search, stages
from tests.fakes.shop_gateway import FakeShopGateway, serving
from tests.fakes.stages import FakeStages

__all__ = ["stages"]  # a fixture

PERSONAL = ("user", "visitor", "session", "person", "profile", "device", "age", "gender", "segment", "audience")
# What a person brings with a search, beside the query.
SHOPPERS: tuple[dict[str, str], ...] = (
    {},
    {"user_id": "u1"},
    {"user_id": "u2", "session_id": "s2"},
    {"visitor_id": "v3"},
    {"user_id": "u1", "visitor_id": "v3", "session_id": "s4"},
)


def fields_of(message: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields, of messages in it too."""
    for field in message.fields:
        yield f"{path}{field.name}"
        if field.message_type is not None:
            yield from fields_of(field.message_type, f"{path}{field.name}.")


@pytest.mark.parametrize(
    "message",
    [pricing_pb2.QuotePricesRequest, offer_pb2.Offer, gateway_pb2.ListProductsRequest, gateway_pb2.UpdateOffersRequest],
)
def test_no_field_is_about_a_person(message: type[Message]) -> None:
    """What pricing is asked with, and what the publisher reads and sends, has no field for a person; the audience of a
    request's context is for other stages.
    """
    paths = set(fields_of(message.DESCRIPTOR)) - {"context.audience"}
    words = {word for path in paths for word in path.rpartition(".")[2].split("_")}
    assert words.isdisjoint(PERSONAL)


async def test_pricing_is_not_told_the_audience(stages: FakeStages) -> None:
    """Market and audience choose the products that are shown, and no price."""
    async with running_gateway(stages, budget=BudgetSettings(default_ms=20_000, maximum_ms=20_000)) as running:
        await running.stub.Search(search(market="de", audience=common_pb2.AUDIENCE_ADULT))
    (request,) = stages.pricing.requests
    assert (request.context.market, request.context.audience) == ("", common_pb2.AUDIENCE_UNSPECIFIED)


async def test_every_shopper_pays_the_same(stages: FakeStages) -> None:
    """Pricing gets the same items for every shopper, in whatever order they come, and all are shown the same prices."""
    asked, shown = set[bytes](), set[bytes]()
    # Nothing is late on a busy machine.
    async with running_gateway(stages, budget=BudgetSettings(default_ms=20_000, maximum_ms=20_000)) as running:
        for shoppers in itertools.islice(itertools.permutations(SHOPPERS), 0, 120, 40):
            for shopper in shoppers:
                stages.pricing.requests.clear()
                answer = await running.stub.Search(search(**shopper))
                (request,) = stages.pricing.requests
                assert not any(value.encode() in request.SerializeToString() for value in shopper.values())
                asked.add(b"".join(sorted(item.SerializeToString() for item in request.items)))
                shown.add(b"".join(sorted(result.price.offer.SerializeToString() for result in answer.results)))
    assert (len(asked), len(shown)) == (1, 1)


DAY_S = 86_400
# Midnight in UTC.
START_S = 1_800_057_600
PRODUCTS, PERSONS, DAYS = [f"p{n}" for n in range(12)], 60, 3
POLICIES = """
policies:
  all: {policy: contextual-thompson, period_hours: 24, maximum_discount: 0.2, maximum_increase: 0.2}
"""


def usd(cents: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=cents // 100, nanos=cents % 100 * 10_000_000)


def log_of_a_shop(
    who: Sequence[int], bought_most: int = 0
) -> tuple[list[event_pb2.Impressions], list[event_pb2.Event]]:
    """Persons are shown products whose prices change by day, and buy. What shopper n does is the same in each log;
    who[n] says under which ids, with which attributes and in which arm of an experiment.

    `bought_most`: the number of a product that is bought whatever it costs.
    """
    random, pages, events = Random(4), list[event_pb2.Impressions](), list[event_pb2.Event]()
    for day, shopper in itertools.product(range(DAYS), range(PERSONS)):
        person, numbers = who[shopper], random.sample(range(len(PRODUCTS)), 5)
        prices = [200 * (8 + (day + number) % 5) for number in numbers]
        ids: dict[str, Any] = {
            "visitor_id": f"v{person}",
            "session_id": f"s{day}-{person}",
            "user_id": f"u{person}" * (person % 3 > 0),
        }
        page = event_pb2.Impressions(
            ranking_id=f"r{day}-{person}", item_ids=[PRODUCTS[n] for n in numbers], positions=range(1, 6), **ids,
            person_features=event_pb2.PersonFeatures(features_version=1, event_item_ids=[PRODUCTS[person % 12]]),
            experiment_arms=[common_pb2.ExperimentArm(experiment="age", arm=str(person % 7))],
            prices=event_pb2.ShownPrices(
                offers=map(usd, prices), list_prices=[usd(2_000)] * 5, reasons=["demand"] * 5, quote_ids=[""] * 5,
                in_stock=[True] * 5,
            ),
        )  # fmt: skip
        page.shown_at.FromSeconds(START_S + day * DAY_S + 600 * shopper)
        pages.append(page)
        for number, price in zip(numbers, prices, strict=True):
            if random.random() < (0.9 if number == bought_most else 0.5 + 0.2 * number * (1 - price / 2_000)):
                bought = event_pb2.Event(
                    event_id=f"e{day}-{person}-{number}", type=event_pb2.EVENT_TYPE_PURCHASE, item_id=PRODUCTS[number],
                    quantity=1, **ids,
                )  # fmt: skip
                bought.occurred_at.FromSeconds(page.shown_at.seconds + 60)
                events.append(bought)
    return pages, events


def published(
    folder: Path, log: tuple[list[event_pb2.Impressions], list[event_pb2.Event]]
) -> dict[str, common_pb2.Money]:
    """The prices that are published on the day after the log, by product: as the price publisher's process makes
    them, from the gateway's log.
    """
    shop, now_s = FakeShopGateway(), float(START_S + DAYS * DAY_S + 60)
    shop.impressions, shop.events = log
    for id in PRODUCTS:
        shop.put(product_pb2.Product(id=id, title=id, price=usd(2_000), cost=usd(1_200), category_path=["Shop"]))
    settings, metrics = LearningSettings(), PublisherMetrics()
    folder.mkdir()
    (folder / "policies.yaml").write_text(POLICIES)
    learned = LearnedPrices(lambda: demand_table(settings, folder), "default", bytes(16))
    policies = PricePolicies(PricingSettings(policies=folder / "policies.yaml"), learned)
    with serving(shop) as port:
        access = GatewayAccessSettings(target=f"127.0.0.1:{port}")
        with (
            closing(SqlitePublisherState(folder)) as state,
            closing(GrpcShopGateway(access)) as gateway,
            consumer(settings, folder, access, LearningMetrics(metrics.registry), lambda: now_s) as reader,
        ):
            reader.turn(threading.Event())
            publisher = PricePublisher(gateway, state, lambda: policies.of("default"), metrics, lambda: now_s)
            while not publisher.step():
                pass
    return {id: price for id in PRODUCTS if (price := shop.published(id)) is not None}


def test_who_the_persons_are_changes_no_published_price(tmp_path: Path) -> None:
    """Permuting ids and attributes of all persons of the log changes no price; what they buy does."""
    whos = [list(range(PERSONS)), *(Random(seed).sample(range(PERSONS), PERSONS) for seed in (1, 2))]
    first, *others = (published(tmp_path / str(n), log_of_a_shop(who)) for n, who in enumerate(whos))
    assert len({(price.units, price.nanos) for price in first.values()}) > 3
    assert others == [first, first]
    assert published(tmp_path / "other", log_of_a_shop(whos[0], bought_most=5)) != first
