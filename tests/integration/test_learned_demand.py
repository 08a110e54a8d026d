"""What pricing learns from the log of the real services: what was shown and bought at which price."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.learning.consumer import DemandConsumer
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.learning.periods import Periods
from services.pricing.learning.settings import LEARNING_FOLDER, LearningSettings
from services.pricing.learning.sqlite_table import demand_table
from services.pricing.learning.wiring import consumer

BUDGET_S, DAY_S = 20.0, 86_400.0
CLICK, PURCHASE, REFUND = event_pb2.EVENT_TYPE_CLICK, event_pb2.EVENT_TYPE_PURCHASE, event_pb2.EVENT_TYPE_REFUND
SETTINGS = LearningSettings()
NEVER = threading.Event()


class Shop:
    """A suite whose clock the test sets."""

    def __init__(self) -> None:
        # Noon in UTC: no test runs over midnight by chance.
        self._ahead_s = DAY_S / 2 - time.time() % DAY_S
        self.stub: gateway_pb2_grpc.GatewayServiceStub
        self.target = ""

    def now_s(self) -> float:
        return time.time() + self._ahead_s

    def wait_days(self, days: int) -> None:
        self._ahead_s += days * DAY_S

    def asks(self, product_id: str, cents: int, list_id: str = "") -> None:
        offer = offer_pb2.Offer(product_id=product_id, price_list_id=list_id, price=usd(cents))
        offer.updated_at.FromNanoseconds(time.time_ns())
        message = gateway_pb2.UpdateOffersRequest(offers=[offer])
        assert self.stub.UpdateOffers(iter([message]), timeout=BUDGET_S).updated_count == 1

    def search(self, visitor_id: str, **fields: Any) -> gateway_pb2.SearchResponse:
        asked = gateway_pb2.SearchRequest(query="lamp", visitor_id=visitor_id, **fields)
        return self.stub.Search(asked, timeout=BUDGET_S)

    def event(self, event_id: str, type: event_pb2.EventType.ValueType, **fields: Any) -> event_pb2.Event:
        columns: dict[str, Any] = {"event_id": event_id, "type": type, "item_id": "desk"}
        made = event_pb2.Event(**(columns | fields))
        if not made.HasField("occurred_at"):
            made.occurred_at.FromNanoseconds(int(self.now_s() * 1e9))
        return made

    def send(self, *events: event_pb2.Event) -> None:
        answer = self.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=BUDGET_S)
        assert not answer.rejected


def usd(cents: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=cents // 100, nanos=cents % 100 * 10_000_000)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A desk lamp at 100, and a floor lamp that is sold out."""
    made = Shop()
    with (
        in_process_suite(tmp_path / "suite", clock=made.now_s) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):
        made.stub, made.target = stub, suite.gateway_target
        lamps = [
            product_pb2.Product(
                id="desk", title="Desk lamp", price=usd(10_000), stock=9, brand="Lux", category_path=["Home", "Lamps"]
            ),
            product_pb2.Product(id="floor", title="Floor lamp", price=usd(9_500), stock=0),
        ]
        message = gateway_pb2.ImportProductsRequest(products=lamps)
        assert stub.ImportProducts(iter([message]), timeout=BUDGET_S).rejected_count == 0
        yield made


@contextmanager
def reading(shop: Shop, folder: Path) -> Iterator[DemandConsumer]:
    access = GatewayAccessSettings(target=shop.target)
    with consumer(SETTINGS, folder, access, LearningMetrics(), shop.now_s) as one:
        yield one


def table(folder: Path, product_id: str | None = None) -> Periods:
    return demand_table(SETTINGS, folder).periods(product_id=product_id)


def read_until(one: DemandConsumer, folder: Path, is_so: Callable[[Periods], bool], limit_s: float = 30) -> Periods:
    """Pages reach the log shortly after their answers."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        one.turn(NEVER)
        if is_so(found := table(folder)):
            return found
        time.sleep(0.05)
    pytest.fail(f"not so: {table(folder)}")


def same(one: Periods, other: Periods) -> bool:
    columns = ((getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)
    return all(np.array_equal(a, b) for a, b in columns)


def test_prices_and_what_was_bought(shop: Shop, tmp_path: Path) -> None:
    """Shown, bought at the quoted price, changed, bought again, late, twice, in another order, and refunded."""
    folder = tmp_path / "learned"
    with reading(shop, folder) as one:
        first = shop.search("ann")
        (desk,) = (result for result in first.results if result.product.id == "desk")
        shop.search("bob")
        clicks = [
            shop.event(f"c{n}", CLICK, visitor_id="ann", attribution_token=first.attribution_token) for n in range(5)
        ]
        quoted = shop.event(
            "p1", PURCHASE, visitor_id="ann", quote_id=desk.price.quote_id, price=usd(9_900), quantity=3, order_id="o1"
        )
        # The shop sends the purchase after it has changed the price, and again.
        read_until(one, folder, lambda found: found.visitors.tolist() == [2, 2])
        shop.asks("desk", 8_000)
        shop.asks("desk", 7_000, "club")
        shop.search("cem", price_list_id="club")
        shop.search("bob")
        shop.send(shop.event("p2", PURCHASE, visitor_id="bob", price=usd(8_000)), quoted, *clicks)
        shop.send(quoted, shop.event("p3", PURCHASE, visitor_id="cem"), shop.event("p4", PURCHASE, visitor_id="dan"))
        read_until(one, folder, lambda found: (int(found.units.sum()), int(found.views.sum())) == (6, 8))
        shop.wait_days(2)
        shop.send(shop.event("r1", REFUND, user_id="ann at the till", order_id="o1", quantity=1))
        found = read_until(one, folder, lambda found: int(found.returned_units.sum()) == 1)
    assert found.product_id == ["desk", "desk", "desk", "floor", "floor"]
    assert found.price_list_id == ["", "", "club", "", "club"]
    assert found.price.tolist() == [8_000, 10_000, 7_000, 9_500, 9_500]
    assert found.list_price.tolist() == [8_000, 10_000, 7_000, 9_500, 9_500]
    assert found.visitors.tolist() == [1, 2, 1, 2, 1]
    assert found.views.tolist() == [1, 2, 1, 3, 1]
    assert found.in_stock.tolist() == [1, 1, 1, 0, 0]
    assert found.clicks.tolist() == [0, 1, 0, 0, 0]
    # Dan was shown nothing: the last price that others saw in the default list.
    assert found.units.tolist() == [2, 2, 1, 0, 0]
    assert found.unjoined_units.tolist() == [1, 0, 0, 0, 0]
    assert found.revenue.tolist() == [16_000, 2 * 9_900, 7_000, 0, 0]
    assert found.returned_units.tolist() == [0, 1, 0, 0, 0]
    assert (found.category[0], found.brand[0], set(found.currency)) == ("Home > Lamps", "Lux", {"USD"})
    assert len(set(found.day.tolist())) == 1
    # A later reader of the log, from its start, counts the same.
    with reading(shop, tmp_path / "again") as other:
        assert same(read_until(other, tmp_path / "again", lambda found: len(found) == 5), found)


def test_no_name_of_a_person_is_stored(shop: Shop, tmp_path: Path) -> None:
    """Neither the files of the store nor what it answers hold an id of a person, session, ranking, order or quote."""
    answer = shop.search("visitor-ann", user_id="user-ann", session_id="session-ann")
    names = ["visitor-ann", "user-ann", "session-ann", "order-ann", *(r.price.quote_id for r in answer.results)]
    bought = {"visitor_id": "visitor-ann", "user_id": "user-ann", "session_id": "session-ann", "order_id": "order-ann"}
    shop.send(shop.event("event-ann", PURCHASE, quote_id=answer.results[0].price.quote_id, **bought))
    with reading(shop, tmp_path / "learned") as one:
        read_until(one, tmp_path / "learned", lambda found: int(found.units.sum()) == int(found.visitors[0]) == 1)
    for file in (tmp_path / "learned").iterdir():
        content = file.read_bytes()
        assert not [name for name in [*names, "event-ann"] if name.encode() in content]


def test_killed_again_and_again(shop: Shop, tmp_path: Path) -> None:
    """The price publisher is killed at any time while events come: every piece is counted once."""
    environment = os.environ | {
        "KAIROS_PRICE_PUBLISHER_DATA_DIR": str(tmp_path / "publisher"),
        "KAIROS_PRICE_PUBLISHER_GATEWAY__TARGET": shop.target,
        "KAIROS_PRICE_PUBLISHER_METRICS__PORT": "0",
        "KAIROS_PRICE_PUBLISHER_LEARNING__POLL_S": "0.01",
        "KAIROS_PRICING_DATA_DIR": str(tmp_path / "pricing"),
    }
    folder, sent = tmp_path / "publisher" / LEARNING_FOLDER, 0

    def buy(until: Callable[[], bool]) -> None:
        nonlocal sent
        deadline = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline
            visitor = f"v{sent}"
            shop.search(visitor)
            shop.send(*(shop.event(f"e{sent + n}", PURCHASE, visitor_id=visitor) for n in range(10)))
            sent += 10

    for kills in range(1, 4):
        before = _units(folder)
        process = subprocess.Popen([sys.executable, "-m", "services.pricing"], env=environment)
        try:
            # In the midst of its work, once it has counted something new.
            buy(lambda: _units(folder) > before)  # noqa: B023 - called in this turn
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert kills <= _units(folder) <= sent
    with reading(shop, folder) as one:
        read_until(one, folder, lambda found: int(found.visitors.max()) == sent // 10)
    found = table(folder)
    assert (int(found.units.sum()), int(found.unjoined_units.sum())) == (sent, 0)


def _units(folder: Path) -> int:
    try:
        return int(table(folder).units.sum())
    except ValueError:
        return 0
