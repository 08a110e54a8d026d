"""AuditService over real gRPC: recording, reading, bad input, tenants, and what is exported."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from kairos.control.v1 import audit_pb2, control_pb2
from services.control.domain.limits import MAX_ENTRIES, MAX_RECORD_BYTES
from services.control.server import ControlServer
from services.control.settings import ApiKey, AuditSettings
from tests.contract.controls import Client, digest_of, entry_of, resource_of, running, wrong_fields
from tests.fakes.waiting import until

STATUS = grpc.StatusCode
QUOTE = audit_pb2.ENTRY_KIND_PRICE_QUOTE
DAY_S = 86_400


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlServer]:
    """With a recorder and a viewer of the tenant "shop", and a recorder and a viewer of all tenants."""
    keys = [
        ApiKey(sha256=digest_of("recorder"), name="recorder", tenant="shop", role="recorder"),
        ApiKey(sha256=digest_of("viewer"), name="viewer", tenant="shop", role="viewer"),
        ApiKey(sha256=digest_of("any-recorder"), name="any-recorder", tenant="*", role="recorder"),
        ApiKey(sha256=digest_of("any-viewer"), name="any-viewer", tenant="*", role="viewer"),
    ]
    async with running(tmp_path, *keys) as started:
        yield started


@pytest.fixture
async def clients(server: ControlServer) -> AsyncIterator[dict[str, Client]]:
    made = {name: Client(server.port, name) for name in ("recorder", "viewer", "any-recorder", "any-viewer")}
    yield made
    for client in made.values():
        await client.channel.close()


async def record(client: Client, *entries: audit_pb2.AuditEntry, tenant: str = "") -> int:
    """How many of them were stored."""
    request = audit_pb2.RecordEntriesRequest(tenant=tenant, entries=entries)
    stored: int = (await client.call("RecordEntries", request)).stored_count
    return stored


async def listed(client: Client, **request: Any) -> list[str]:
    answer = await client.call("ListEntries", audit_pb2.ListEntriesRequest(**request))
    return [entry.id for entry in answer.entries]


async def refused(client: Client, method: str, request: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.call(method, request)
    return raised.value


def exported(registry: CollectorRegistry, name: str) -> float:
    value = registry.get_sample_value(f"kairos_control_{name}")
    assert value is not None
    return value


async def test_what_is_recorded_is_returned(clients: dict[str, Client]) -> None:
    """An entry comes back as it was sent, from the list and by its id."""
    sent = entry_of("q1", time.time() // 1)
    assert await record(clients["recorder"], sent) == 1
    answer = await clients["viewer"].call("ListEntries", audit_pb2.ListEntriesRequest())
    assert list(answer.entries) == [sent]
    one = await clients["viewer"].call("GetEntry", audit_pb2.GetEntryRequest(kind=QUOTE, id="q1"))
    assert one.entry == sent


async def test_a_delivery_may_be_repeated(clients: dict[str, Client], server: ControlServer) -> None:
    """What is stored already is left as it is and counted."""
    first, second = entry_of("q1"), entry_of("q2")
    assert await record(clients["recorder"], first) == 1
    assert await record(clients["recorder"], first, second) == 1
    registry = server.metrics.registry
    assert exported(registry, "audit_entries_total") == 2
    assert exported(registry, "audit_duplicates_total") == 1


async def test_pages_cover_everything_once(clients: dict[str, Client]) -> None:
    """The newest entry comes first; the token of another request is refused; filters narrow the list."""
    now_s, long = time.time(), "外" * 128
    await record(clients["recorder"], *(entry_of(f"q{n}", now_s - n, subject_id=long) for n in range(5)))
    ids, token = [], ""
    while True:
        request = audit_pb2.ListEntriesRequest(subject_id=long, page_size=2, page_token=token)
        page = await clients["viewer"].call("ListEntries", request)
        ids += [entry.id for entry in page.entries]
        if not (token := page.next_page_token):
            break
        last = token
    assert ids == [f"q{number}" for number in range(5)]
    other = audit_pb2.ListEntriesRequest(page_size=2, page_token=last)
    assert "page_token" in wrong_fields(await refused(clients["viewer"], "ListEntries", other))
    assert await listed(clients["viewer"], subject_id="p1") == []
    assert await listed(clients["viewer"], request_id="r1", kind=QUOTE, page_size=1) == ["q0"]
    between = {"from": datetime.fromtimestamp(now_s - 3.5, UTC), "until": datetime.fromtimestamp(now_s - 1.5, UTC)}
    assert await listed(clients["viewer"], **between) == ["q2", "q3"]


async def test_pages_have_a_bound_of_bytes(clients: dict[str, Client]) -> None:
    """A page of large entries ends early, and the next one goes on behind it."""
    now_s = time.time()
    for first in range(0, 300, 100):
        entries = [entry_of(f"q{n:03}", now_s - n) for n in range(first, first + 100)]
        for entry in entries:
            entry.quoted_price.quote.explanation = "x" * 15_000
        await record(clients["recorder"], *entries)
    page = await clients["viewer"].call("ListEntries", audit_pb2.ListEntriesRequest(page_size=500))
    assert page.next_page_token
    request = audit_pb2.ListEntriesRequest(page_size=500, page_token=page.next_page_token)
    rest = await clients["viewer"].call("ListEntries", request)
    assert [entry.id for entry in (*page.entries, *rest.entries)] == [f"q{n:03}" for n in range(300)]


Spoil = Callable[[audit_pb2.AuditEntry], object]
BAD: list[tuple[Spoil, str, str]] = [
    (lambda one: one.ClearField("id"), "id", "send 1 to 128"),
    (lambda one: setattr(one, "subject_id", "x" * 129), "subject_id", "at most 128"),
    (lambda one: setattr(one, "request_id", "a\0"), "request_id", "control character"),
    (lambda one: one.ClearField("recorded_at"), "recorded_at", "required"),
    (lambda one: setattr(one.recorded_at, "nanos", -1), "recorded_at", "no time"),
    (lambda one: one.recorded_at.FromSeconds(int(time.time()) - 401 * DAY_S), "recorded_at", "clock"),
    (lambda one: one.recorded_at.FromSeconds(int(time.time()) + 2 * DAY_S), "recorded_at", "clock"),
    (lambda one: one.ClearField("quoted_price"), "content", "quoted_price"),
    (lambda one: setattr(one.quoted_price.quote, "explanation", "x" * 17_000), "quoted_price", "at most 16384"),
    (lambda one: setattr(one.quoted_price.quote, "quote_id", "q9"), "quoted_price.quote.quote_id", "id of the entry"),
    (lambda one: one.quoted_price.ClearField("item"), "quoted_price.item.list_price.currency_code", "ISO 4217"),
    (lambda one: setattr(one.quoted_price.item, "item_id", "p2"), "quoted_price.quote.item_id", "send the same"),
    (lambda one: setattr(one.quoted_price.item.cost, "units", 1), "quoted_price.item.cost", "one currency"),
    (lambda one: setattr(one.quoted_price.quote.offer, "units", 10**16), "quoted_price.quote.offer", "at most"),
    (lambda one: setattr(one.quoted_price.quote.valid_until, "seconds", 2**60), "quoted_price.quote.valid_until",
     "no time"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "field", "remedy"), BAD, ids=[field for _, field, _ in BAD])
async def test_bad_entries_name_field_and_remedy(
    clients: dict[str, Client], spoil: Spoil, field: str, remedy: str
) -> None:
    """Each is INVALID_ARGUMENT with the path of the field, and nothing of the call is stored."""
    bad = entry_of("q2")
    spoil(bad)
    request = audit_pb2.RecordEntriesRequest(entries=[entry_of("q1"), bad])
    found = wrong_fields(await refused(clients["recorder"], "RecordEntries", request))
    assert remedy in found[f"entries[1].{field}"]
    assert await listed(clients["viewer"]) == []


async def test_calls_have_bounds(clients: dict[str, Client]) -> None:
    """Too many entries, too many bytes, and bad filters are INVALID_ARGUMENT; ControlService keeps its own bound."""
    small = audit_pb2.AuditEntry(id="q")
    recorder, viewer = clients["recorder"], clients["viewer"]
    for request, method, field in (
        (audit_pb2.RecordEntriesRequest(), "RecordEntries", "entries"),
        (audit_pb2.RecordEntriesRequest(entries=[small] * (MAX_ENTRIES + 1)), "RecordEntries", "entries"),
        (audit_pb2.RecordEntriesRequest(tenant="shop", entries=[audit_pb2.AuditEntry(id="x" * MAX_RECORD_BYTES)]),
         "RecordEntries", "request"),
    ):  # fmt: skip
        assert field in wrong_fields(await refused(recorder, method, request))
    moment = datetime.now(UTC)
    for given, field in (
        ({"kind": 9}, "kind"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"subject_id": "x" * 129}, "subject_id"),
        ({"request_id": "a\nb"}, "request_id"),
        ({"from": moment, "until": moment}, "until"),
        ({"tenant": "x" * (1 << 20)}, "request"),
    ):
        error = await refused(clients["any-viewer"], "ListEntries", audit_pb2.ListEntriesRequest(**given))
        assert field in wrong_fields(error) or field == "request", given
    for id in ("", "x" * 129):
        assert "id" in wrong_fields(await refused(viewer, "GetEntry", audit_pb2.GetEntryRequest(kind=QUOTE, id=id)))
    assert "kind" in wrong_fields(await refused(viewer, "GetEntry", audit_pb2.GetEntryRequest(id="q1")))
    unknown = await refused(viewer, "GetEntry", audit_pb2.GetEntryRequest(kind=QUOTE, id="q1"))
    assert unknown.code() is STATUS.NOT_FOUND


async def test_resources_keep_their_bound(tmp_path: Path) -> None:
    """A request of ControlService has at most 1 MiB, though a RecordEntries may have more."""
    async with running(tmp_path) as started:
        client = Client(started.port)
        resource = resource_of("review", "large", {"question": "x" * (1 << 20)})
        request = control_pb2.CreateResourceRequest(resource=resource)
        assert "request" in wrong_fields(await refused(client, "CreateResource", request))
        await client.channel.close()


async def test_tenants_are_apart(clients: dict[str, Client]) -> None:
    """A recorder records for its own tenant, one of all tenants for each; a viewer sees its own tenant."""
    assert await record(clients["recorder"], entry_of("q1")) == 1
    assert await record(clients["any-recorder"], entry_of("q1"), tenant="other") == 1
    assert await record(clients["any-recorder"], entry_of("q2"), tenant="shop") == 1
    request = audit_pb2.RecordEntriesRequest(tenant="other", entries=[entry_of("q3")])
    assert (await refused(clients["recorder"], "RecordEntries", request)).code() is STATUS.PERMISSION_DENIED
    for method, asked in (
        ("ListEntries", audit_pb2.ListEntriesRequest(tenant="other")),
        ("GetEntry", audit_pb2.GetEntryRequest(tenant="other", kind=QUOTE, id="q1")),
    ):
        assert (await refused(clients["viewer"], method, asked)).code() is STATUS.PERMISSION_DENIED
    assert await listed(clients["viewer"]) == ["q2", "q1"]
    assert await listed(clients["any-viewer"], tenant="other") == ["q1"]


async def test_old_entries_become_a_file_with_types(tmp_path: Path) -> None:
    """Quotes are archived as Parquet with amounts as decimals and times as times, and are counted."""
    audit = AuditSettings(online_days=1, interval_s=0.05)
    quoted_s = time.time() - 2 * DAY_S
    async with running(tmp_path, audit=audit) as started:
        client = Client(started.port)
        await record(client, entry_of("q1", quoted_s), entry_of("q2", quoted_s))
        await client.channel.close()
    # Further entries of an hour are waited for, for an hour.
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        db.execute("UPDATE audit_partitions SET opened_us = 0")
        db.commit()
    async with running(tmp_path, audit=audit) as started:
        registry = started.metrics.registry
        await until(lambda: exported(registry, "audit_archived_entries_total") == 2)
        (file,) = (tmp_path / "audit_archive").iterdir()
        client = Client(started.port)
        assert await listed(client) == []
        await client.channel.close()
        await until(lambda: exported(registry, "audit_archive_bytes") == file.stat().st_size)
        assert exported(registry, "audit_online_entries") == 0
        assert exported(registry, "audit_archive_failures_total") == 0
    first = pq.read_table(file).to_pylist()[0]
    assert file.name.startswith(f"{datetime.fromtimestamp(quoted_s, UTC):%Y-%m-%dT%H}-")
    assert (first["tenant"], first["quote_id"], first["item_id"], first["request_id"]) == ("default", "q1", "p1", "r1")
    assert (first["currency"], first["list_price"], first["offer"]) == ("USD", Decimal(10), Decimal("9.5"))
    assert (first["cost"], first["stock"], first["reason"]) == (None, 3, "overstock")
    assert abs(first["quoted_at"].timestamp() - quoted_s) < 1e-3
    assert abs((first["valid_until"] - first["quoted_at"]).total_seconds() - 900) < 1e-3
