"""PricingService over real gRPC with its outbox in a SQLite file, by protos/kairos/pricing/v1/pricing.proto."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.outbox.outbox import OutboxBounds
from services.common.outbox.sqlite_outbox import SqliteOutbox
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler
from tests.contract.refusals import refusal
from tests.contract.serving import process
from tests.fakes.audit import FakeAudit
from tests.fakes.audit import serving as delivered_to
from tests.fakes.waiting import until

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
    """A bad item is INVALID_ARGUMENT that names its field; no item of the request is quoted or put on record."""
    assert await refusal(stub.QuotePrices(asking(item("a"), wrong))) == (INVALID, [f"items[1].{field}"])
    assert waiting(tmp_path, "default") == []


@pytest.mark.parametrize("count", [0, 1_001])
async def test_how_many_items(stub: Stub, count: int) -> None:
    """A request without items, or with more than 1,000, is refused."""
    assert await refusal(stub.QuotePrices(asking(*[item(str(n)) for n in range(count)]))) == (INVALID, ["items"])


async def test_spent_budget(stub: Stub, tmp_path: Path) -> None:
    """A request without time left is refused before any work; nothing is put on record."""
    request = asking(item("a"))
    request.context.budget.remaining.FromNanoseconds(0)
    assert (await refusal(stub.QuotePrices(request)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert waiting(tmp_path, "default") == []


async def test_every_quote_is_in_the_outbox(stub: Stub, tmp_path: Path) -> None:
    """The outbox has each quote as it was given, with the item as it was sent, its request and time, by tenant."""
    asked = item("a", money(4_999), cost=money(1_000), price_ceiling=money(4_950), stock=7)
    first = (await stub.QuotePrices(asking(asked, tenant="shop", request_id="q1"))).quotes[0]
    second = (await stub.QuotePrices(asking(asked, tenant="shop", request_id="q2"))).quotes[0]
    entries = waiting(tmp_path, "shop")
    assert [entry.id for entry in entries] == [first.quote_id, second.quote_id]
    entry = entries[0]
    assert (entry.subject_id, entry.request_id, entry.recorded_at) == ("a", "q1", first.quoted_at)
    assert (entry.quoted_price.item, entry.quoted_price.quote) == (asked, first)
    assert waiting(tmp_path, "default") == []


async def test_unknown_fields_do_not_go_on_record(stub: Stub, tmp_path: Path) -> None:
    """What an item has beyond the contract is left out: an entry stays as small as control accepts it."""
    sent = pricing_pb2.PricedItem.FromString(item("a").SerializeToString() + bytes([0xFA, 0x7F, 5]) + b"extra")
    await quote(stub, sent)
    (entry,) = waiting(tmp_path, "default")
    assert entry.quoted_price.item.SerializeToString() == item("a").SerializeToString()


async def test_the_largest_request_is_accepted_by_control(stub: Stub, tmp_path: Path) -> None:
    """Items with the longest texts are entries within control's bounds: 16,384 bytes each, 4 MiB together."""
    texts: dict[str, Any] = {"price_list_id": "单" * 64, "place_id": "店" * 64, "category_path": ["类" * 128] * 8}
    long = [item(f"{n:04}".ljust(128, "商"), **texts) for n in range(500)]
    await stub.QuotePrices(asking(*long, request_id="求" * 128))
    assert len(waiting(tmp_path, "default")) == 500
    outbox = opened(tmp_path)
    stored = outbox.oldest(1_000_000, 64 << 20)
    outbox.close()
    assert len(stored) > 1
    assert all(len(one.batch.content) <= 4 << 20 for one in stored)
    assert all(entry.quoted_price.ByteSize() <= 16_384 for entry in waiting(tmp_path, "default"))


async def test_a_full_outbox(tmp_path: Path) -> None:
    """When the outbox is full a call is RESOURCE_EXHAUSTED and says when to try again; nothing is lost."""
    async with serving(tmp_path, outbox={"most_entries": 3}) as stub:
        given = await stub.QuotePrices(asking(item("a"), item("b")))
        code, _ = await refusal(stub.QuotePrices(asking(item("a"), item("b"))))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        last = await quote(stub, item("c"))
    expected = [*(made.quote_id for made in given.quotes), last.quote_id]
    assert [entry.id for entry in waiting(tmp_path, "default")] == expected


async def test_quotes_reach_control(tmp_path: Path) -> None:
    """The quotes are delivered to control, with the key of pricing; the outbox is empty then."""
    audit = FakeAudit()
    with delivered_to(audit) as port:
        control = {"target": f"127.0.0.1:{port}", "api_key": "secret"}
        async with serving(tmp_path, control=control, outbox={"interval_s": 0.02}) as stub:
            made = await quote(stub, item("a"))
            await until(lambda: waiting(tmp_path, "default") == [])
    assert [*audit.stored] == [("default", made.quote_id)]
    assert audit.keys == {"Bearer secret"}


async def test_a_log_of_an_earlier_version_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pricing starts beside the file of an earlier version, leaves it as it is, and names the command that imports
    it.
    """
    configure_telemetry("pricing", TelemetrySettings())
    (tmp_path / "audit.db").write_bytes(b"quotes")
    async with serving(tmp_path) as stub:
        await quote(stub, item("a"))
    assert (tmp_path / "audit.db").read_bytes() == b"quotes"
    assert f"kairos control import-audit {tmp_path / 'audit.db'}" in capsys.readouterr().err


async def test_acknowledged_quotes_survive_kill_9(tmp_path: Path) -> None:
    """After SIGKILL the outbox has every quote that a caller got."""
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
    recorded = {entry.id: entry.quoted_price.quote for entry in waiting(tmp_path, "default")}
    assert len(given) >= 21
    for made in given:
        assert recorded[made.quote_id] == made


def opened(folder: Path) -> SqliteOutbox:
    """The outbox as another process reads it."""
    return SqliteOutbox(folder, OutboxBounds(1_000_000, 64 << 20))


def waiting(folder: Path, tenant: str) -> list[audit_pb2.AuditEntry]:
    """The entries in the outbox, the oldest first."""
    outbox, entries, after = opened(folder), list[audit_pb2.AuditEntry](), ""
    while found := outbox.oldest(1_000_000, 64 << 20, after):
        after = found[-1].place
        batches = [stored.batch for stored in found if stored.batch.tenant == tenant]
        for batch in batches:
            entries += audit_pb2.RecordEntriesRequest.FromString(batch.content).entries
    outbox.close()
    return entries
