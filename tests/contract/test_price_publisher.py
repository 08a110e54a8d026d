"""The price publisher against a gateway over real gRPC: what it publishes, when, and what survives."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from ops.settings import SuiteSettings
from ops.supervisor import suite_environment
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.policy_set import Policy, PolicySet
from services.pricing.domain.price_war import Damper
from services.pricing.domain.pricing import Guard, MarkdownRules, PricedItem, PriceReason, ProposedPrice
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.ports import GatewayFailed, PageTokenRefused
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher, run
from tests.fakes.shop_gateway import COMPETITOR, PRICING, FakeShopGateway, serving

RULES = MarkdownRules(150, Decimal("0.10"), 540, Decimal("0.15"))
RAILS = Guardrails(Decimal("0.05"), Decimal("0.30"), Decimal(0))
POLICIES = PolicySet(Policy("", "rules", RULES, RAILS), "1")
DAY_S, NOW_S = 86_400, 1_800_000_000


class Clock:
    now_s = float(NOW_S)

    def __call__(self) -> float:
        return self.now_s


class Worker:
    """A publisher on `folder`, its gateway and its clock."""

    publisher: PricePublisher

    def __init__(self, metrics: PublisherMetrics, clock: Clock, policies: PolicySet) -> None:
        self.metrics, self.clock, self.policies = metrics, clock, policies

    def work(self) -> None:
        """Until nothing is left."""
        while not self.publisher.step():
            pass


@contextmanager
def worker(
    folder: Path, port: int, policies: PolicySet = POLICIES, clock: Clock | None = None, key: str = ""
) -> Iterator[Worker]:
    metrics, clock = PublisherMetrics(), clock or Clock()
    access = GatewayAccessSettings.model_validate({"target": f"127.0.0.1:{port}", "api_key": key, "timeout_s": 5})
    with closing(SqlitePublisherState(folder)) as state, closing(GrpcShopGateway(access)) as gateway:
        made = Worker(metrics, clock, policies)
        made.publisher = PricePublisher(gateway, state, lambda: made.policies, metrics, clock)
        yield made


@pytest.fixture
def shop() -> FakeShopGateway:
    return FakeShopGateway()


@pytest.fixture
def port(shop: FakeShopGateway) -> Iterator[int]:
    with serving(shop) as bound:
        yield bound


def usd(cents: int, currency: str = "USD") -> common_pb2.Money:
    return common_pb2.Money(currency_code=currency, units=cents // 100, nanos=cents % 100 * 10_000_000)


def product(product_id: str = "a", cents: int = 10_000, *, age_days: float = 0, **fields: Any) -> product_pb2.Product:
    made = product_pb2.Product(id=product_id, title=product_id, price=usd(cents), **fields)
    if age_days:
        made.created_at.FromSeconds(int(NOW_S - age_days * DAY_S))
    return made


def shop_offer(
    product_id: str = "a",
    list_id: str = "",
    *,
    starts_s: int = 0,
    ends_s: int = 0,
    at_s: int = NOW_S - 9,
    **fields: Any,
) -> offer_pb2.Offer:
    made = offer_pb2.Offer(product_id=product_id, price_list_id=list_id, **fields)
    made.updated_at.FromSeconds(at_s)
    for name, time_s in (("sale_starts_at", starts_s), ("sale_ends_at", ends_s)):
        if time_s:
            getattr(made, name).FromSeconds(time_s)
    return made


def test_a_markdown_is_published(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A marked-down price is published with the shop's price that it was computed from; a list price is not."""
    shop.put(product("a", stock=200))
    shop.put(product("b", stock=3))
    with worker(tmp_path, port, key="secret") as one:
        one.work()
    (made,) = shop.received
    assert (made.product_id, made.price, made.base_price, made.source) == ("a", usd(9_000), usd(10_000), PRICING)
    assert ("authorization", "Bearer secret") in shop.metadata


def test_nothing_is_published_twice(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """What is published already is not published again, also by a publisher that starts from nothing."""
    for number in range(450):
        shop.put(product(f"p{number}", stock=200))
    for folder in (tmp_path / "one", tmp_path / "two"):
        with worker(folder, port) as one:
            one.work()
            one.work()
    assert len(shop.received) == 450


def test_a_change_is_followed(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A new price is marked down anew, and a price whose reason is gone is withdrawn."""
    shop.put(product(stock=200))
    with worker(tmp_path, port) as one:
        one.work()
        shop.put(product(cents=8_000, stock=200))
        one.work()
        assert (shop.published("a"), shop.received[-1].base_price) == (usd(7_200), usd(8_000))
        shop.update(shop_offer(stock=20))
        one.work()
    assert (shop.published("a"), shop.received[-1].is_removed) == (None, True)


def test_a_product_becomes_aged(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """An item is marked down from the moment at which it is aged, though nothing else changes."""
    shop.put(product(age_days=539, stock=3))
    with worker(tmp_path, port) as one:
        one.clock.now_s += DAY_S - 1
        one.work()
        assert shop.published("a") is None
        one.clock.now_s += 1
        one.work()
    assert shop.published("a") == usd(8_500)


def test_a_sale_is_not_marked_down(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """While a sale applies the computed price is withdrawn, and it is published again at the end of the sale."""
    shop.put(product(stock=200))
    shop.update(shop_offer(sale_price=usd(10_000), starts_s=NOW_S + 60, ends_s=NOW_S + 120))
    seen = []
    with worker(tmp_path, port) as one:
        for _ in range(3):
            one.work()
            seen.append(shop.published("a"))
            one.clock.now_s += 60
    assert seen == [usd(9_000), None, usd(9_000)]


def test_price_lists(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A list with a price of its own is marked down from that; a list without one has the default list's price."""
    shop.put(product(stock=200))
    shop.update(shop_offer(list_id="wholesale", price=usd(5_000)))
    shop.update(shop_offer(list_id="club", stock=1))
    with worker(tmp_path, port) as one:
        one.work()
    assert {offer.price_list_id: offer.price for offer in shop.received} == {"": usd(9_000), "wholesale": usd(4_500)}


class Undercutting:
    """Asks 2 % less than the lowest competitor."""

    def __call__(self, item: PricedItem, now_s: float, guard: Guard | None = None) -> ProposedPrice:
        asked = item.competitor or item.list_price
        return ProposedPrice(asked.amount * Decimal("0.98"), PriceReason.DEMAND, "")

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        return float("inf")


def test_a_price_war_ends(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """Competitors' prices are read with the offers; what is known of a price war survives a restart."""
    damper = Damper(2, 14 * DAY_S, 14 * DAY_S, Decimal("0.05"))
    rails = Guardrails(Decimal(0), Decimal("0.9"), Decimal(0), price_war=damper)
    policies = PolicySet(Policy("", "undercutting", Undercutting(), rails, DAY_S), "1")
    clock, cents, ended = Clock(), list[int](), 0.0
    shop.put(product())
    for number, seen in enumerate((9_900, 9_000, 8_000, 7_000)):
        clock.now_s = NOW_S + number * DAY_S
        shop.update(shop_offer(place_id="rival", price=usd(seen), source=COMPETITOR, at_s=int(clock.now_s) - 60))
        shop.update(shop_offer(place_id="gone", price=usd(1), stock=0, source=COMPETITOR, at_s=int(clock.now_s) - 60))
        with worker(tmp_path, port, policies, clock) as one:
            one.work()
            ended += one.metrics.registry.get_sample_value("kairos_price_publisher_price_wars_total") or 0
        made = shop.received[-1]
        cents.append(made.price.units * 100 + made.price.nanos // 10_000_000)
    assert (cents, ended, made.guardrail) == ([9_702, 8_820, 9_320, 9_820], 1, offer_pb2.PRICE_GUARDRAIL_PRICE_WAR)


def test_bounds_in_another_currency(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A price whose cost is known in another currency only is not marked down: the guardrail cannot be checked."""
    shop.put(product("a", stock=200, cost=usd(5_000)))
    shop.put(product("b", stock=200))
    for product_id in "ab":
        shop.update(shop_offer(product_id, "europe", price=usd(8_000, "EUR")))
    with worker(tmp_path, port) as one:
        one.work()
    assert (shop.published("a"), shop.published("a", "europe")) == (usd(9_000), None)
    assert shop.published("b", "europe") == usd(7_200, "EUR")


def test_a_restart_continues(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A new process continues at the saved place, and knows which prices change by time."""
    shop.put(product(age_days=539.5, stock=3))
    with worker(tmp_path, port) as one:
        one.work()
    clock = Clock()
    clock.now_s += DAY_S
    with worker(tmp_path, port, clock=clock) as again:
        again.work()
    assert shop.asked.count("") == 1
    assert shop.published("a") == usd(8_500)


def test_other_rules(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """With other rules or guardrails than before everything is computed again."""
    shop.put(product(stock=200))
    for version in ("these", "those"):
        with worker(tmp_path, port, replace(POLICIES, version=version)) as one:
            one.work()
    assert shop.asked.count("") == 2


def test_a_lost_place(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """If the gateway has lost the place, the catalogue is read again, and products that are gone are forgotten."""
    shop.put(product("a", age_days=1))
    with worker(tmp_path, port) as one:
        one.work()
        shop.remove("a")
        shop.put(product("b", age_days=1))
        shop.epoch += 1
        one.work()
        assert one.metrics.registry.get_sample_value("kairos_price_publisher_upcoming_products") == 1


def test_an_unknown_page_token(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """If the gateway refuses the page token, the next step reads the catalogue from its first product."""
    shop.put(product(stock=200))
    with worker(tmp_path, port) as one:
        one.work()
        shop.refuses_tokens = True
        with pytest.raises(PageTokenRefused):
            one.publisher.step()
        shop.refuses_tokens = False
        one.work()
    assert shop.asked.count("") == 2


def test_a_deleted_product_is_forgotten(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A product that is gone when its time comes is forgotten."""
    shop.put(product(age_days=539.9))
    with worker(tmp_path, port) as one:
        one.work()
        shop.remove("a")
        one.clock.now_s += DAY_S
        one.work()
        assert one.metrics.registry.get_sample_value("kairos_price_publisher_upcoming_products") == 0


def test_a_clock_that_is_behind(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A price counts though one with a later time was published before, for example by a machine with another clock."""
    shop.put(product(stock=200))
    shop.update(shop_offer(at_s=NOW_S + 3_600, source=PRICING, price=usd(1), base_price=usd(10_000)))
    with worker(tmp_path, port) as one:
        one.work()
    assert shop.published("a") == usd(9_000)


def test_an_unreadable_product(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """A product that cannot be read does not hold up the others."""
    shop.put(product("a", stock=200, cost=usd(1, "nothing")))
    shop.put(product("b", stock=200))
    with worker(tmp_path, port) as one:
        one.work()
    assert [offer.product_id for offer in shop.received] == ["b"]


def test_a_gateway_that_is_down(tmp_path: Path) -> None:
    """While the gateway is down the publisher tries again; afterwards it publishes, and nothing is lost."""
    shop, stop = FakeShopGateway(), threading.Event()
    shop.put(product(stock=200))
    with serving(shop) as port:
        pass

    def come_back() -> None:
        with serving(shop, port):
            for _ in range(1_000):
                if shop.received or stop.wait(0.01):
                    break
            stop.set()

    with worker(tmp_path, port) as one:
        with pytest.raises(GatewayFailed, match="ListProducts: UNAVAILABLE"):
            one.publisher.step()
        returning = threading.Timer(0.1, come_back)
        returning.start()
        run(one.publisher, one.metrics, 0.02, stop)
        returning.join()
        assert (one.metrics.registry.get_sample_value("kairos_price_publisher_failures_total") or 0) >= 1
    assert shop.published("a") == usd(9_000)


def test_the_program(shop: FakeShopGateway, port: int, tmp_path: Path) -> None:
    """As `kairos up` starts it, the program publishes through the gateway, serves metrics and ends on SIGTERM."""
    shop.put(product(stock=200))
    settings = SuiteSettings.on_free_ports(tmp_path).resolved().model_copy(update={"gateway_port": port})
    process = subprocess.Popen([sys.executable, "-m", "services.pricing"], env=suite_environment(settings))
    try:
        for _ in range(1_500):
            if shop.received:
                break
            time.sleep(0.02)
        text = ""
        for _ in range(500):
            with urllib.request.urlopen(f"http://127.0.0.1:{settings.publisher_metrics_port}/metrics") as answer:
                text = answer.read().decode()
            if 'changes_total{kind="published"} 1.0' in text:
                break
            time.sleep(0.02)
    finally:
        process.terminate()
        code = process.wait(10)
    assert (shop.published("a"), code) == (usd(9_000), 0)
    assert 'kairos_price_publisher_changes_total{kind="published"} 1.0' in text


def test_one_publisher_for_a_folder(port: int, tmp_path: Path) -> None:
    """A second publisher on the same folder is refused; after the first has ended it may start."""
    with worker(tmp_path, port), pytest.raises(ValueError, match="another price publisher uses"):
        SqlitePublisherState(tmp_path)
    SqlitePublisherState(tmp_path).close()
