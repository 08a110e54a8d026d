"""BudgetService over real gRPC: bills are recorded and listed; bad input, bounds and tenants."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from kairos.control.v1 import budgets_pb2
from services.control.convert import page_token
from services.control.domain.limits import MAX_BILLS
from services.control.settings import ApiKey
from tests.contract.controls import Client, bill_of, day_before, digest_of, running, wrong_fields

STATUS = grpc.StatusCode
KEYS = [
    ApiKey(sha256=digest_of("biller"), name="biller", tenant="shop", role="recorder"),
    ApiKey(sha256=digest_of("viewer"), name="viewer", tenant="shop", role="viewer"),
    ApiKey(sha256=digest_of("stranger"), name="stranger", tenant="other", role="recorder"),
]


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[dict[str, Client]]:
    async with running(tmp_path, *KEYS) as server:
        made = {key.name: Client(server.port, key.name) for key in KEYS}
        yield made
        for client in made.values():
            await client.channel.close()


async def record(client: Client, *bills: budgets_pb2.Bill) -> int:
    stored: int = (await client.call("RecordBills", budgets_pb2.RecordBillsRequest(bills=bills))).stored_count
    return stored


async def listed(client: Client, **asked: Any) -> list[budgets_pb2.Bill]:
    return list((await client.call("ListBills", budgets_pb2.ListBillsRequest(**asked))).bills)


async def refused(client: Client, method: str, request: Any) -> dict[str, str]:
    """The wrong fields of an INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.call(method, request)
    assert raised.value.code() is STATUS.INVALID_ARGUMENT
    return wrong_fields(raised.value)


async def test_what_is_recorded_is_listed(clients: dict[str, Client]) -> None:
    """A bill comes back as it was sent, to a viewer and to the recorder; another tenant sees nothing."""
    sales = {"currency_code": "EUR", "units": "20"}
    sent = bill_of("c", sales=sales, same_brand_sales={"currency_code": "EUR"}, is_final=True)
    assert await record(clients["biller"], sent) == 1
    assert await record(clients["biller"], bill_of("c")) == 0
    for name in ("viewer", "biller"):
        assert await listed(clients[name]) == [sent]
    assert await listed(clients["stranger"]) == []


async def test_pages_cover_everything_once(clients: dict[str, Client]) -> None:
    """By campaign and day; a page ends before 4 MiB; the token of another request is refused."""
    days = [day_before(number) for number in range(3)]
    long = [{"reason": f"{number:02}{'x' * 62}", "clicks": "1"} for number in range(16)]
    sent = [bill_of(f"c{number:04}", day, refused=long) for number in range(1_000) for day in days[::-1]]
    for first in range(0, len(sent), 1_500):
        await record(clients["biller"], *sent[first : first + 1_500])
    found, token = list[str](), ""
    sizes = list[int]()
    while True:
        request = budgets_pb2.ListBillsRequest(page_size=5_000, page_token=token)
        page = await clients["viewer"].call("ListBills", request)
        found += [f"{bill.campaign_id} {bill.day}" for bill in page.bills]
        sizes.append(len(page.bills))
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert found == [f"{bill.campaign_id} {bill.day}" for bill in sent]
    assert len(sizes) > 1
    assert len(await listed(clients["viewer"])) == 500
    assert len(await listed(clients["viewer"], from_day=days[1], until_day=days[1], page_size=2)) == 2
    assert [bill.day for bill in await listed(clients["viewer"], campaign_id="c0007")] == days[::-1]
    other = budgets_pb2.ListBillsRequest(campaign_id="c", page_token=token)
    assert "page_token" in await refused(clients["viewer"], "ListBills", other)
    same, campaign_id, _ = json.loads(base64.urlsafe_b64decode(token))
    made_up = budgets_pb2.ListBillsRequest(page_token=page_token(same, campaign_id, "never"))
    assert "page_token" in await refused(clients["viewer"], "ListBills", made_up)


Spoil = Callable[[budgets_pb2.Bill], object]
BAD: list[tuple[Spoil, str, str]] = [
    (lambda one: one.ClearField("campaign_id"), "campaign_id", "send 1 to 63"),
    (lambda one: setattr(one, "campaign_id", "a b"), "campaign_id", "send 1 to 63"),
    (lambda one: setattr(one, "day", "29.11.2026"), "day", "such as 2026-11-29"),
    (lambda one: setattr(one, "day", "2026-W01-1"), "day", "such as 2026-11-29"),
    (lambda one: setattr(one, "day", day_before(1_101)), "day", "clock"),
    (lambda one: setattr(one, "day", day_before(-2)), "day", "clock"),
    (lambda one: setattr(one, "clicks", -1), "clicks", "send 0 or more"),
    (lambda one: one.ClearField("value"), "value", "required"),
    (lambda one: one.ClearField("amount"), "amount", "required"),
    (lambda one: setattr(one.amount, "units", 4), "amount", "at most all"),
    (lambda one: setattr(one.value, "units", -3), "value", "send 0"),
    (lambda one: setattr(one.value, "nanos", 1), "value", "round it"),
    (lambda one: setattr(one.value, "currency_code", "euro"), "value.currency_code", "ISO 4217"),
    (lambda one: setattr(one.sales, "currency_code", "USD"), "sales.currency_code", "that of the campaign"),
    (lambda one: setattr(one.refused[0], "reason", "Own clicks"), "refused[0].reason", "send 1 to 64"),
    (lambda one: one.refused.add(reason="repeated"), "refused[1].reason", "send it once"),
    (lambda one: setattr(one.refused[0], "clicks", -1), "refused[0].clicks", "send 0 or more"),
    (lambda one: one.refused.extend([one.refused[0]] * 16), "refused", "at most 16"),
]


async def test_bad_bills_name_field_and_remedy(clients: dict[str, Client]) -> None:
    """Each is INVALID_ARGUMENT with the path of the field, and nothing of the call is stored."""
    for spoil, field, remedy in BAD:
        bad = bill_of("d")
        spoil(bad)
        request = budgets_pb2.RecordBillsRequest(bills=[bill_of("c"), bad])
        found = await refused(clients["biller"], "RecordBills", request)
        assert remedy in found[f"bills[1].{field}"], field
    assert await listed(clients["viewer"]) == []


async def test_calls_have_bounds(clients: dict[str, Client]) -> None:
    """Too many bills, one twice, none, and bad filters are INVALID_ARGUMENT."""
    biller, record_of = clients["biller"], budgets_pb2.RecordBillsRequest
    small = budgets_pb2.Bill(campaign_id="c")
    assert "bills" in await refused(biller, "RecordBills", record_of())
    assert "bills" in await refused(biller, "RecordBills", record_of(bills=[small] * (MAX_BILLS + 1)))
    assert "bills[1]" in await refused(biller, "RecordBills", record_of(bills=[bill_of("c"), bill_of("c")]))
    for given, field in (
        ({"campaign_id": "x" * 64}, "campaign_id"),
        ({"from_day": "yesterday"}, "from_day"),
        ({"until_day": "2026-13-01"}, "until_day"),
        ({"from_day": "2026-01-02", "until_day": "2026-01-01"}, "until_day"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
    ):
        assert field in await refused(clients["viewer"], "ListBills", budgets_pb2.ListBillsRequest(**given)), given
