"""The publisher puts decisions on record before it publishes their prices, and its metrics count them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from services.common.errors import Overloaded
from services.pricing.domain.decision import PriceDecision
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.offered_product import OfferedProduct
from services.pricing.domain.policy_set import Policy, PolicySet
from services.pricing.domain.publication import PriceChange
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.ports import GatewayFailed, Page, Published
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from tests.unit.pricing.shops import DAY_S, START_S, usd
from tests.unit.pricing.test_decisions import Learned

RAILS = Guardrails(Decimal("0.05"), Decimal("0.5"), Decimal(0), maximum_daily_change=Decimal("0.05"))
POLICIES = PolicySet(Policy("all", "greedy", Learned("70"), RAILS, DAY_S), "1")


class Shop:
    """A gateway with one product, and a record. `steps` has what they were given, in its order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fails = self.is_full = False

    def changes(self, page_token: str) -> Page:
        products = [OfferedProduct("a", usd(100), usd(60))] if page_token != "end" else []
        return Page(products, "end", is_last=True, is_restarted=False)

    def publish(self, changes: Sequence[PriceChange]) -> Published:
        if self.fails:
            raise GatewayFailed("it is down")
        self.steps += [f"price {change.price.price.amount}" for change in changes if change.price]
        return Published()

    def record(self, decisions: Sequence[PriceDecision]) -> None:
        if self.is_full:
            raise Overloaded("the outbox is full", 1.0)
        self.steps += [f"decision {one.decision_id}" for one in decisions]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def metrics() -> PublisherMetrics:
    return PublisherMetrics()


@pytest.fixture
def publisher(shop: Shop, metrics: PublisherMetrics, tmp_path: Path) -> Iterator[PricePublisher]:
    with closing(SqlitePublisherState(tmp_path)) as state:
        yield PricePublisher(shop, state, lambda: POLICIES, metrics, lambda: float(START_S), record=shop)


def test_a_decision_comes_before_its_price(shop: Shop, publisher: PricePublisher) -> None:
    """A step that fails between them is repeated, with the same entry: no price without its decision, none twice."""
    shop.fails = True
    with pytest.raises(GatewayFailed):
        publisher.step()
    shop.fails = False
    publisher.step()
    first, again, price = shop.steps
    assert first == again
    assert (first.startswith("decision "), price) == (True, "price 95.00")


def test_without_room_for_a_decision_no_price_changes(shop: Shop, publisher: PricePublisher) -> None:
    """A full outbox holds prices up, and the same step succeeds when there is room."""
    shop.is_full = True
    with pytest.raises(Overloaded):
        publisher.step()
    assert shop.steps == []
    shop.is_full = False
    publisher.step()
    assert len(shop.steps) == 2


def test_metrics_compare_with_list_prices(publisher: PricePublisher, metrics: PublisherMetrics) -> None:
    """Each decision counts once: by guardrail, as a share of the list price, and with the profit that is expected at
    the decided price, at the list price and at the best price.
    """
    publisher.step()

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"kairos_price_publisher_{name}", labels) or 0.0

    assert value("decisions_total", guardrail="daily_change") == 1
    assert value("price_ratio_sum") == 0.95
    profit = {at: value("expected_profit_total", at=at, currency="USD") for at in ("price", "list_price", "best_price")}
    assert profit["list_price"] == pytest.approx(110.93, abs=0.01)
    assert profit["price"] == pytest.approx(107.58, abs=0.01)
    assert profit["best_price"] == profit["price"]
