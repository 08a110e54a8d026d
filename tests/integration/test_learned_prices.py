"""The price publisher learns from the gateway's log, and publishes one price for a product and period."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from random import Random

from demo.catalogue import REFERENCE, DemoProduct, build_catalogue
from demo.loading import load_products
from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.convert import money_from_proto
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.learning.prices import LearnedPrices, seed_of
from services.pricing.learning.settings import LearningSettings
from services.pricing.learning.sqlite_table import demand_table
from services.pricing.learning.wiring import consumer
from services.pricing.policies import PricePolicies
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from services.pricing.settings import PricingSettings

DAY_S, DAYS = 86_400.0, 3
POLICIES = """
policies:
  all:
    {policy: best-response, period_hours: 24, maximum_discount: 0.2, maximum_increase: 0.1, maximum_daily_change: 0.05}
"""


class Clock:
    now_s = REFERENCE.timestamp() // DAY_S * DAY_S

    def __call__(self) -> float:
        return self.now_s


def publish(folder: Path, target: str, clock: Clock) -> None:
    """A price publisher that starts, does what there is to do, and ends."""
    access, learning, metrics = GatewayAccessSettings(target=target), LearningSettings(), PublisherMetrics()
    store = folder / "price_publisher" / "learning"
    learned = LearnedPrices(lambda: demand_table(learning, store), "default", seed_of(store))
    policies = PricePolicies(PricingSettings(policies=folder / "policies.yaml"), learned)
    with ExitStack() as stack:
        state = stack.enter_context(closing(SqlitePublisherState(folder / "price_publisher")))
        gateway = stack.enter_context(closing(GrpcShopGateway(access)))
        reader = stack.enter_context(consumer(learning, store, access, LearningMetrics(metrics.registry), clock))
        reader.turn(threading.Event())
        publisher = PricePublisher(gateway, state, lambda: policies.of("default"), metrics, clock)
        while not publisher.step():
            pass


def observe(
    stub: gateway_pb2_grpc.GatewayServiceStub, products: Sequence[DemoProduct], random: Random, at_s: float
) -> None:
    """A competitor asks 85 to 115 % of each price."""
    offers = []
    for product in products:
        cents = round(float(product.price) * random.uniform(85, 115))
        price = common_pb2.Money(currency_code="USD", units=cents // 100, nanos=cents % 100 * 10_000_000)
        made = offer_pb2.Offer(
            product_id=product.id, place_id="rival", price=price, source=offer_pb2.OFFER_SOURCE_COMPETITOR
        )
        made.updated_at.FromSeconds(int(at_s))
        offers.append(made)
    answer = stub.UpdateOffers(iter([gateway_pb2.UpdateOffersRequest(offers=offers)]))
    assert answer.updated_count == len(offers)


def shares(answer: gateway_pb2.SearchResponse) -> dict[str, Decimal]:
    """The shown price as a share of the list price, by product."""
    quotes = {each.product.id: each.price for each in answer.results}
    return {id: amount_of(quote.offer) / amount_of(quote.list_price) for id, quote in quotes.items()}


def amount_of(money: common_pb2.Money) -> Decimal:
    return money_from_proto(money, "").amount


def test_prices_are_learned_from_what_was_shown_and_bought(tmp_path: Path) -> None:
    """On the first day the list prices apply. From then on each day has its prices, within the guardrails, the same
    for every search and after a restart of the publisher. They answer to a competitor whose prices are observed.
    """
    clock, random, products = Clock(), Random(3), build_catalogue(5, 60)
    (tmp_path / "policies.yaml").write_text(POLICIES)
    queries = sorted({product.category_path[-1].lower() for product in products})
    with in_process_suite(tmp_path, clock=clock, random=Random(1)) as suite:
        connection = Connection(suite.gateway_target, timeout_s=30)
        load_products(connection, tmp_path, products)
        by_day = list[dict[str, Decimal]]()
        with connection.stub() as stub:
            for day in range(DAYS):
                clock.now_s = Clock.now_s + day * DAY_S + 60
                observe(stub, products, random, clock.now_s)
                publish(tmp_path, suite.gateway_target, clock)
                shown = dict[str, Decimal]()
                for number, query in enumerate(queries):
                    clock.now_s += 30
                    asked = gateway_pb2.SearchRequest(
                        query=query, visitor_id=f"v{day}-{number}", page_size=10,
                        sort=product_pb2.SORT_ORDER_PRICE_ASCENDING,
                    )  # fmt: skip
                    answer = stub.Search(asked)
                    prices = [amount_of(each.price.offer) for each in answer.results]
                    assert prices == sorted(prices)
                    shown |= shares(answer)
                    bought = [
                        event_pb2.Event(
                            event_id=f"e{day}-{number}-{each.position}", visitor_id=f"v{day}-{number}",
                            item_id=each.product.id, type=event_pb2.EVENT_TYPE_PURCHASE, price=each.price.offer,
                            quote_id=each.price.quote_id, attribution_token=answer.attribution_token,
                        )
                        for each in answer.results
                        if random.random() < 0.3
                    ]  # fmt: skip
                    if bought:
                        stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=bought))
                publish(tmp_path, suite.gateway_target, clock)
                again = shares(stub.Search(asked))
                assert again == {id: shown[id] for id in again}
                by_day.append(shown)
    counted = demand_table(LearningSettings(), tmp_path / "price_publisher" / "learning").periods()
    asked_there = counted.competitor / counted.list_price
    assert 0.5 < asked_there.min() < 0.95 < 1.05 < asked_there.max() < 1.2
    sales = {id for id, share in by_day[0].items() if share != 1}
    # Every twelfth product or so is on sale, which pricing leaves alone.
    assert len(sales) < len(by_day[0]) / 5
    for before, after in itertools.pairwise(by_day):
        changed = [id for id in after if id in before and after[id] != before[id]]
        assert len(changed) > len(after) / 4
        for id in changed:
            assert id not in sales
            assert abs(after[id] / before[id] - 1) < Decimal("0.051")
            assert Decimal("0.79") < after[id] < Decimal("1.11")
