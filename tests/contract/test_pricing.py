"""PricingService over real gRPC with its SQLite audit log, by protos/kairos/pricing/v1/pricing.proto."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from kairos.common.v1 import common_pb2
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.pricing.adapters.sqlite_audit_log import SqliteAuditLog
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler
from tests.contract.refusals import refusal
from tests.contract.serving import process

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DAY_S = 86_400

# In quotes: only the stubs' type files know this name.
Stub: TypeAlias = "pricing_pb2_grpc.PricingServiceAsyncStub"


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Stub]:
    handler, server = build_handler(PricingSettings(data_dir=folder, **settings)), grpc.aio.server()
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pricing_pb2_grpc.PricingServiceStub(channel)
    await server.stop(None)
    handler.close()


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path) as running:
        yield running


def money(cents: int, currency: str = "USD") -> common_pb2.Money:
    units = abs(cents) // 100 * (-1 if cents < 0 else 1)
    return common_pb2.Money(currency_code=currency, units=units, nanos=(cents - units * 100) * 10_000_000)


def item(item_id: str = "a", price: common_pb2.Money | None = None, **fields: Any) -> pricing_pb2.PricedItem:
    return pricing_pb2.PricedItem(item_id=item_id, list_price=price or money(10_000), **fields)


def asking(*items: pricing_pb2.PricedItem, tenant: str = "", request_id: str = "r1") -> pricing_pb2.QuotePricesRequest:
    context = common_pb2.RequestContext(request_id=request_id, tenant=tenant)
    return pricing_pb2.QuotePricesRequest(context=context, items=items)


async def quote(stub: Stub, asked: pricing_pb2.PricedItem) -> pricing_pb2.PriceQuote:
    (made,) = (await stub.QuotePrices(asking(asked))).quotes
    return made


async def test_an_ordinary_quote(stub: Stub) -> None:
    """A quote has list price, floor, ceiling, an id, a reason and its explanation, the version and the times."""
    made = await quote(stub, item("a", money(4_999), stock=3))
    assert (made.item_id, made.list_price, made.offer) == ("a", money(4_999), money(4_999))
    assert (made.price_floor, made.price_ceiling) == (money(3_500), money(4_999))
    assert made.reason == pricing_pb2.PRICE_REASON_LIST_PRICE
    assert made.explanation == "The list price applies."
    assert len(made.quote_id) == 32
    assert made.model_version == "rules@1"
    assert made.quoted_at.ToSeconds() == pytest.approx(time.time(), abs=60)
    assert made.valid_until.ToSeconds() - made.quoted_at.ToSeconds() == 900


async def test_quotes_in_the_order_of_the_items(stub: Stub) -> None:
    """Each item has a quote, in the order of the request, and every quote has an id of its own."""
    request = asking(item("b"), item("a"), item("c"))
    answers = [await stub.QuotePrices(request), await stub.QuotePrices(request)]
    assert [[made.item_id for made in answer.quotes] for answer in answers] == [["b", "a", "c"]] * 2
    assert len({made.quote_id for answer in answers for made in answer.quotes}) == 6


async def test_reasons(stub: Stub) -> None:
    """Overstock and aged items are marked down; a markdown below the floor is raised to it. Reason and explanation
    tell.
    """
    old = int(time.time()) - 600 * DAY_S
    overstock = await quote(stub, item(stock=200))
    assert (overstock.offer, overstock.reason) == (money(9_000), pricing_pb2.PRICE_REASON_OVERSTOCK)
    assert overstock.explanation == "10% off: 200 pieces are in stock; 150 or more count as overstock."
    aged = await quote(stub, item(stock=5, created_at_seconds=old))
    assert (aged.offer, aged.reason) == (money(8_500), pricing_pb2.PRICE_REASON_AGED)
    held = await quote(stub, item(stock=200, price_floor=money(9_500)))
    assert (held.offer, held.reason) == (money(9_500), pricing_pb2.PRICE_REASON_GUARDRAIL)
    assert held.explanation.endswith("A guardrail raised the offer to USD 95.00: the product's price floor.")


async def test_bounds_of_a_merchandiser(stub: Stub) -> None:
    """An offer is within the merchandiser's floor and ceiling, and no markdown goes below cost plus margin. The list
    price applies if it is below that itself.
    """
    bounded = await quote(stub, item(price_floor=money(9_500), price_ceiling=money(9_800)))
    assert (bounded.price_floor, bounded.price_ceiling, bounded.offer) == (money(9_500), money(9_800), money(9_800))
    costly = await quote(stub, item(cost=money(9_000), stock=200))
    assert costly.price_floor == costly.offer == money(9_450)
    loss_leader = await quote(stub, item(cost=money(12_000), stock=200))
    assert loss_leader.price_floor == loss_leader.offer == loss_leader.price_ceiling == money(10_000)


async def test_the_smallest_unit(stub: Stub) -> None:
    """Offers are rounded to whole yen and to thousandths of a dinar."""
    yen = await quote(stub, item(price=common_pb2.Money(currency_code="JPY", units=999), stock=200))
    assert (yen.offer.units, yen.offer.nanos) == (899, 0)
    dinar = await quote(stub, item(price=common_pb2.Money(currency_code="KWD", nanos=999_000_000), stock=200))
    assert (dinar.offer.units, dinar.offer.nanos) == (0, 899_000_000)


async def test_the_largest_amounts(stub: Stub) -> None:
    """The largest price and cost that the contract allows are quoted."""
    most = common_pb2.Money(currency_code="USD", units=10**15)
    made = await quote(stub, item(price=most, cost=most))
    assert made.offer == most


async def test_the_baseline_pricer(tmp_path: Path) -> None:
    """The pricer list-price serves the same contract and marks nothing down."""
    async with serving(tmp_path, pricer="list-price") as stub:
        made = await quote(stub, item(stock=200))
    assert (made.offer, made.model_version) == (money(10_000), "list-price@1")


async def test_a_published_offer_is_quoted(stub: Stub) -> None:
    """The quote offers exactly what is published. The reason is the pricer's if it computes the same amount, the list
    price if that is published, otherwise the shop's decision.
    """
    confirmed = await quote(stub, item(stock=200, offer=money(9_000)))
    assert (confirmed.offer, confirmed.reason) == (money(9_000), pricing_pb2.PRICE_REASON_OVERSTOCK)
    sale = await quote(stub, item(stock=200, offer=money(8_000)))
    assert (sale.offer, sale.reason) == (money(8_000), pricing_pb2.PRICE_REASON_PUBLISHED)
    assert sale.explanation == "The shop's published offer applies."
    listed = await quote(stub, item(stock=200, offer=money(10_000)))
    assert (listed.offer, listed.reason) == (money(10_000), pricing_pb2.PRICE_REASON_LIST_PRICE)


async def test_a_published_offer_beyond_the_bounds(stub: Stub) -> None:
    """An offer that the shop published below the floor or above the ceiling stays; the bound is widened to it."""
    low = await quote(stub, item(cost=money(9_000), offer=money(2_000)))
    assert (low.price_floor, low.offer, low.price_ceiling) == (money(2_000), money(2_000), money(10_000))
    high = await quote(stub, item(price_ceiling=money(9_500), offer=money(9_800)))
    assert (high.price_floor, high.offer, high.price_ceiling) == (money(7_000), money(9_800), money(9_800))


async def test_list_and_place_are_in_the_log(stub: Stub, tmp_path: Path) -> None:
    """The log names the price list and the place of a quote."""
    await quote(stub, item("a", offer=money(9_900), price_list_id="wholesale", place_id="harbour"))
    (row,) = logged(tmp_path, "default", "a")
    assert (row["offer"], row["price_list_id"], row["place_id"]) == ("99.00", "wholesale", "harbour")


async def test_never_by_person(stub: Stub) -> None:
    """The same item has the same offer in every request."""
    asked = [asking(item(stock=200), request_id=f"r{number}") for number in range(5)]
    offers = [(await stub.QuotePrices(request)).quotes[0].offer for request in asked]
    assert offers == [offers[0]] * 5


LARGE = common_pb2.Money(currency_code="USD", units=10**15 + 1)
NOWHERE = common_pb2.Money(currency_code="dollars", units=1)
TORN = common_pb2.Money(currency_code="USD", units=1, nanos=-1)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (item(""), "item_id"),
        (item("x" * 129), "item_id"),
        (item("b", stock=-1), "stock"),
        (pricing_pb2.PricedItem(item_id="b"), "list_price"),
        (item("b", money(-1)), "list_price"),
        (item("b", NOWHERE), "list_price.currency_code"),
        (item("b", TORN), "list_price.nanos"),
        (item("b", LARGE), "list_price.units"),
        (item("b", cost=money(-1)), "cost"),
        (item("b", cost=money(100, "EUR")), "cost.currency_code"),
        (item("b", price_floor=money(100, "EUR")), "price_floor.currency_code"),
        (item("b", price_ceiling=money(-100)), "price_ceiling"),
        (item("b", price_floor=money(9_000), price_ceiling=money(8_000)), "price_floor"),
        (item("b", offer=money(10_001)), "offer"),
        (item("b", offer=money(-1)), "offer"),
        (item("b", offer=money(100, "EUR")), "offer.currency_code"),
        (item("b", offer=common_pb2.Money(currency_code="USD", units=9, nanos=999_000_000)), "offer"),
        (item("b", price_list_id="x" * 65), "price_list_id"),
        (item("b", place_id="x" * 65), "place_id"),
        (item("a"), "item_id"),
    ],
    ids=[
        "no id", "long id", "negative stock", "no price", "negative", "no currency", "signs", "too much",
        "negative cost", "cost's currency",
        "floor's currency", "negative ceiling", "reversed", "above the list price", "negative offer",
        "offer's currency", "a tenth of a cent", "long list", "long place", "twice",
    ],
)  # fmt: skip
async def test_bad_items(stub: Stub, tmp_path: Path, wrong: pricing_pb2.PricedItem, field: str) -> None:
    """A bad item is INVALID_ARGUMENT that names its field; no item of the request is quoted or written to the log."""
    assert await refusal(stub.QuotePrices(asking(item("a"), wrong))) == (INVALID, [f"items[1].{field}"])
    assert logged(tmp_path, "default", "a") == []


@pytest.mark.parametrize("count", [0, 1_001])
async def test_how_many_items(stub: Stub, count: int) -> None:
    """A request without items, or with more than 1,000, is refused."""
    assert await refusal(stub.QuotePrices(asking(*[item(str(n)) for n in range(count)]))) == (INVALID, ["items"])


async def test_spent_budget(stub: Stub, tmp_path: Path) -> None:
    """A request without time left is refused before any work; nothing is written to the log."""
    request = asking(item("a"))
    request.context.budget.remaining.FromNanoseconds(0)
    assert (await refusal(stub.QuotePrices(request)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert logged(tmp_path, "default", "a") == []


async def test_every_quote_is_in_the_log(stub: Stub, tmp_path: Path) -> None:
    """The log has the inputs and the result of each quote as exact decimals, by tenant, newest first."""
    asked = item("a", money(4_999), cost=money(1_000), price_ceiling=money(4_950), stock=7)
    first = (await stub.QuotePrices(asking(asked, tenant="shop", request_id="q1"))).quotes[0]
    second = (await stub.QuotePrices(asking(asked, tenant="shop", request_id="q2"))).quotes[0]
    rows = logged(tmp_path, "shop", "a")
    assert [row["quote_id"] for row in rows] == [second.quote_id, first.quote_id]
    row = rows[1]
    assert row | {"quoted_s": "", "valid_until_s": ""} == {
        "quote_id": first.quote_id, "item_id": "a", "currency": "USD", "list_price": "49.99", "cost": "10",
        "merchandiser_floor": None, "merchandiser_ceiling": "49.5", "stock": "7", "created_s": "0.0",
        "price_floor": "35.00", "price_ceiling": "49.50", "offer": "49.50", "reason": "guardrail",
        "explanation": first.explanation, "model_version": "rules@1", "request_id": "q1", "quoted_s": "",
        "valid_until_s": "", "price_list_id": "", "place_id": "",
    }  # fmt: skip
    assert float(row["valid_until_s"]) - float(row["quoted_s"]) == 900
    assert logged(tmp_path, "default", "a") == []


@pytest.mark.parametrize("statement", ["UPDATE quote_1 SET offer = '0'", "DELETE FROM quote_1"])
async def test_quotes_are_final(stub: Stub, tmp_path: Path, statement: str) -> None:
    """A quote in the log can be neither changed nor removed, not even through the file."""
    await stub.QuotePrices(asking(item("a")))
    database = sqlite3.connect(tmp_path / "audit.db")
    with pytest.raises(sqlite3.IntegrityError, match="a quote in the audit log is never"):
        database.execute(statement)
    database.close()


async def test_acknowledged_quotes_survive_kill_9(tmp_path: Path) -> None:
    """After SIGKILL the log has every quote that a caller got."""
    given: list[pricing_pb2.PriceQuote] = []
    with process("pricing", tmp_path) as (running, address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Stub = pricing_pb2_grpc.PricingServiceStub(channel)

            async def ask() -> None:
                for number in range(1_000):
                    given.append(await quote(stub, item("a", money(10_000 + number))))
                    if number == 20:
                        running.send_signal(signal.SIGKILL)

            with pytest.raises(grpc.aio.AioRpcError):
                await ask()
        assert running.wait() == -signal.SIGKILL
    recorded = {row["quote_id"]: row["offer"] for row in logged(tmp_path, "default", "a")}
    assert len(given) >= 21
    for made in given:
        assert recorded[made.quote_id] == f"{made.offer.units}.{made.offer.nanos // 10_000_000:02}"


def logged(folder: Path, tenant: str, item_id: str) -> list[dict[str, str]]:
    """The log as another process reads it."""
    log = SqliteAuditLog(folder)
    rows = log.quotes_of(tenant, item_id, limit=10_000)
    log.close()
    return rows
