"""UpdateOffers over real gRPC, with retrieval as it runs in the suite."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from catalog.imports import Rejects
from catalog.offers import OBSERVED, OffersImport, observation_of
from kairos.common.v1 import offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from ops.client import Connection
from services.common.convert_offers import offer_to_proto
from services.common.offers import Offer
from services.gateway.settings import SecuritySettings
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_handler
from tests.contract.gateways import Running, hashed_key, running_gateway, stages, violated_fields
from tests.contract.refusals import refusal
from tests.fakes.stages import FakeStages

__all__ = ["stages"]  # a fixture

NOW_NS = time.time_ns()
PRODUCTS = 1_500
STOCKED = Offer(NOW_NS, stock=1)


@pytest.fixture
async def shop(stages: FakeStages, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway over a retrieval that has the products p0, p1 and so on."""
    handler = build_handler(RetrievalSettings(data_dir=tmp_path))
    server = grpc.aio.server()
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(handler, server)
    stages.targets["retrieval"] = target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(target) as channel:
        retrieval: retrieval_pb2_grpc.RetrievalServiceAsyncStub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        for start in range(0, PRODUCTS, 500):
            products = [product_pb2.Product(id=f"p{start + row}", title="Lamp") for row in range(500)]
            await retrieval.UpsertProducts(retrieval_pb2.UpsertProductsRequest(products=products))
    async with running_gateway(stages) as one:
        yield one
    await server.stop(None)
    handler.close()


def offer(id: str, value: Offer = STOCKED) -> offer_pb2.Offer:
    return offer_to_proto(id, value)


async def send(shop: Running, *messages: list[offer_pb2.Offer], key: str = "") -> gateway_pb2.UpdateOffersResponse:
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    stream = (gateway_pb2.UpdateOffersRequest(offers=offers) for offers in messages)
    return await shop.stub.UpdateOffers(stream, metadata=metadata)


def counts(answer: gateway_pb2.UpdateOffersResponse) -> tuple[int, int, int, int]:
    """(updated, stale, missing, rejected)."""
    return answer.updated_count, answer.stale_count, answer.missing_count, answer.rejected_count


async def test_a_stream(shop: Running) -> None:
    """Offers of many messages are stored once each, whatever the sizes of the messages; a repetition is stale."""
    everything = [offer(f"p{number}") for number in range(PRODUCTS)]
    answer = await send(shop, everything[:1], everything[1:1_001], everything[1_001:1_300], everything[1_300:])
    assert (answer.received_count, *counts(answer)) == (PRODUCTS, PRODUCTS, 0, 0, 0)
    assert answer.request_id
    assert counts(await send(shop, everything[:500], everything[500:900])) == (0, 900, 0, 0)
    assert shop.metric("offer_updates_total", outcome="updated") == PRODUCTS
    assert shop.metric("offer_updates_total", outcome="stale") == 900


async def test_wrong_offers_do_not_hold_up_the_others(shop: Running) -> None:
    """Invalid offers are rejected by index and field, unknown products are named, and the others are stored."""
    wrong, unknown = offer("p1"), offer("nobody")
    wrong.sale_price.currency_code = "eur"
    answer = await send(shop, [offer("p0"), unknown], [wrong, offer("p2"), unknown])
    assert counts(answer) == (2, 0, 2, 1)
    assert list(answer.missing_ids) == ["nobody"]
    (rejected,) = answer.rejected
    assert (rejected.index, rejected.product_id, rejected.field) == (2, "p1", "sale_price.currency_code")
    assert "ISO 4217" in rejected.reason


async def test_the_order_of_times(shop: Running) -> None:
    """Of two offers the later one counts, also if it comes first in the stream."""
    later = replace(STOCKED, updated_at_ns=NOW_NS + 1, stock=0)
    assert counts(await send(shop, [offer("p0", later)], [offer("p0")])) == (1, 1, 0, 0)
    assert counts(await send(shop, [offer("p0", later)])) == (0, 1, 0, 0)


async def test_a_price_list_too_many(shop: Running) -> None:
    """The 21st price list is rejected by its field, and the rest of its batch is stored; once all offers of another
    list are removed, there is room again, also within one stream.
    """
    lists = [replace(STOCKED, price_list_id=f"list-{number}") for number in range(21)]
    answer = await send(shop, [*(offer("p0", one) for one in lists), offer("p1")])
    assert counts(answer) == (21, 0, 0, 1)
    (rejected,) = answer.rejected
    assert (rejected.index, rejected.field) == (20, "price_list_id")
    removed = replace(lists[0], updated_at_ns=NOW_NS + 1, is_removed=True, stock=None)
    filling = [offer(f"p{number}") for number in range(2, 1_000)]
    assert counts(await send(shop, [*filling, offer("p0", removed)], [offer("p0", lists[20])])) == (1_000, 0, 0, 0)


@pytest.mark.parametrize("count", [0, 1_001])
async def test_the_size_of_a_message(shop: Running, count: int) -> None:
    """A message has 1 to 1,000 offers."""
    assert await violated_fields(send(shop, [offer("p0")] * count)) == ["offers"]


async def test_offers_need_a_key_that_writes(stages: FakeStages) -> None:
    """A key that only reads may not send offers."""
    keys = SecuritySettings(api_keys=(hashed_key("reader", "shop", "read"),))
    async with running_gateway(stages, keys) as guarded:
        code, _ = await refusal(send(guarded, [offer("p0")], key="reader"))
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_file_of_offers(shop: Running, tmp_path: Path) -> None:
    """A file is imported with one currency for each row, and wrong rows are listed with line, field and reason."""
    file = tmp_path / "offers.csv"
    file.write_text(
        "product_id;price list id;place_id;price;currency;sale_price;sale_ends_at;stock;fulfilments;updated_at\n"
        'p0;staff;berlin;"19,90";EUR;"15,00";2026-12-24;3;pickup, delivery;2026-10-01T08:00:00Z\n'
        "p1;;;1299,00;;;;sold out;;2026-10-01T08:00:00Z\n"
        "p1;;ulm;;;;;7;by drone;2026-10-01T08:00:00Z\n"
        "p2;;;;;;;7;;\n"
        "nobody;;;;;;;7;;2026-10-01T08:00:00Z\n"
        "p3;staff;;1,50;USD;;;;;2026-10-01T08:00:00Z\n"
    )
    rejects = tmp_path / "rejects"
    job = OffersImport(Connection(f"127.0.0.1:{shop.gateway.port}"), "EUR", Rejects(rejects))
    summary = await asyncio.to_thread(job.run, file, quiet=True)
    assert (summary.read, summary.imported, summary.rejected) == (6, 2, 4)
    found = sorted((entry["line"], entry["field"]) for entry in map(json.loads, rejects.read_text().splitlines()))
    assert found == [(4, "fulfilments"), (5, "updated_at"), (6, "product_id"), (7, "price.currency_code")]
    again = OffersImport(Connection(f"127.0.0.1:{shop.gateway.port}"), "EUR", Rejects(rejects))
    assert (await asyncio.to_thread(again.run, file, quiet=True)).unchanged == 2


async def test_a_file_of_competitors_prices(shop: Running, tmp_path: Path) -> None:
    """Observed prices are stored as offers of the competitor, and what is wrong is listed by the column of the file."""
    file = tmp_path / "seen.jsonl"
    rows: list[dict[str, object]] = [
        {"product_id": "p0", "competitor": "rival", "price": 19.9, "url": "https://rival.example/p0"},
        {"product_id": "p0", "competitor": "other", "price": 18.5, "in_stock": False},
        {"product_id": "p1", "price": 5},
        {"product_id": "p1", "competitor": "a\tb", "price": 5},
    ]
    file.write_text("\n".join(json.dumps(row | {"observed_at": "2026-10-01T08:00:00Z"}) for row in rows))
    rejects = tmp_path / "rejects"
    connection = Connection(f"127.0.0.1:{shop.gateway.port}")
    job = OffersImport(connection, "EUR", Rejects(rejects), observation_of, OBSERVED)
    summary = await asyncio.to_thread(job.run, file, quiet=True)
    assert (summary.imported, summary.rejected) == (2, 2)
    found = sorted((entry["line"], entry["field"]) for entry in map(json.loads, rejects.read_text().splitlines()))
    assert found == [(3, "competitor"), (4, "competitor")]
    token, stored = "", dict[str, offer_pb2.Offer]()
    while not stored:
        page = await shop.stub.ListProducts(gateway_pb2.ListProductsRequest(page_size=500, page_token=token))
        token = page.next_page_token
        stored |= {made.place_id: made for one in page.products for made in one.offers}
    assert {name: made.source for name, made in stored.items()} == dict.fromkeys(
        ("rival", "other"), offer_pb2.OFFER_SOURCE_COMPETITOR
    )
    assert (stored["rival"].price.units, stored["rival"].HasField("stock"), stored["other"].stock) == (19, False, 0)
