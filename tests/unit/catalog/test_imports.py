"""An import sends good rows once, and writes bad rows to the rejects file with line and reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from catalog.events import event_of
from catalog.imports import CatalogImport, EventsImport, Rejects, Summary
from catalog.mapping import parse_mapping
from catalog.rows import RowRefused
from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from ops.client import Connection
from tests.unit.conftest import FakeGateway


def imported(gateway: FakeGateway, path: Path) -> tuple[Summary, list[dict[str, Any]]]:
    """(summary, entries of the rejects file)."""
    rejects = path.with_suffix(".rejects")
    job = CatalogImport(Connection(gateway.target), parse_mapping("", None, "USD"), Rejects(rejects))
    return job.run(path, quiet=True), read(rejects)


def recorded(gateway: FakeGateway, path: Path) -> tuple[Summary, list[dict[str, Any]]]:
    rejects = path.with_suffix(".rejects")
    return EventsImport(Connection(gateway.target), Rejects(rejects)).run(path, quiet=True), read(rejects)


def read(rejects: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rejects.read_text("utf-8").splitlines()] if rejects.exists() else []


def put(folder: Path, *lines: str | bytes, name: str = "p.csv") -> Path:
    path = folder / name
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def test_good_rows_arrive(gateway: FakeGateway, tmp_path: Path) -> None:
    """Every good row is imported, and an import without bad rows writes no rejects file."""
    path = put(tmp_path, "id,title,price", "1,Shoe,5", "2,跑步鞋,6.50")
    summary, _ = imported(gateway, path)
    assert (summary.read, summary.imported, summary.rejected) == (2, 2, 0)
    assert [gateway.products[id].title for id in ("1", "2")] == ["Shoe", "跑步鞋"]
    assert not path.with_suffix(".rejects").exists()


@pytest.mark.parametrize("title", ["later", "late"])
def test_a_short_outage_does_not_end_an_import(gateway: FakeGateway, tmp_path: Path, title: str) -> None:
    """If a stage is unavailable or late, the rows are sent again, and all of them are imported."""
    summary, _ = imported(gateway, put(tmp_path, "id,title", "1,Shoe", f"2,{title}"))
    assert gateway.was_unavailable
    assert gateway.products.keys() == {"1", "2"}
    # The first row had gone in before.
    assert (summary.imported, summary.unchanged) == (1, 1)


def test_bad_rows_are_in_the_rejects_file(gateway: FakeGateway, tmp_path: Path) -> None:
    """Each bad row is written with its line, field, reason and text; the good rows are imported."""
    path = put(
        tmp_path, "id,title,price", "3", "4,马,1", b"5,gr\xfc\xdfe,1", "6,,1", ",Ünïcode,1", '7,"Ünïcode, quoted",much',
    )  # fmt: skip
    summary, rejects = imported(gateway, path)
    assert (summary.read, summary.imported, summary.rejected) == (6, 2, 4)
    assert list(gateway.products) == ["4", "7"]
    assert [(entry["line"], entry["field"]) for entry in rejects] == [
        (2, "row"), (4, "row"), (5, "title"), (6, "id"),
    ]  # fmt: skip
    assert rejects[0]["reason"] == "has 1 fields, but the header has 3"
    assert rejects[1]["reason"] == "is not UTF-8; save the file as UTF-8"
    assert rejects[3]["row"] == ",Ünïcode,1"


def test_wrong_values_are_counted(gateway: FakeGateway, tmp_path: Path) -> None:
    """A row with a wrong value is imported without it; such values are counted by field and reason, with lines."""
    rows = ["1,Shoe,1e3,5", "2,Boot,-5,5", "3,Sandal,-7,many", "4,Clog,-1.50,5", "5,Sock,-2,", "6,Mule,5,5"]
    path = put(tmp_path, "id,title,price,stock", *rows)
    job = CatalogImport(Connection(gateway.target), parse_mapping("", None, "USD"), Rejects(path.with_suffix(".r")))
    summary = job.run(path, quiet=True)
    assert (summary.imported, summary.rejected, summary.dropped_values) == (6, 0, 6)
    assert [(group.name, group.count, group.lines) for group in job.dropped.groups] == [
        ("price", 4, [3, 4, 5]), ("price", 1, [2]), ("stock", 1, [4]),
    ]  # fmt: skip
    assert "'-5' is negative" in job.dropped.groups[0].reason
    assert gateway.products["3"] == product_pb2.Product(id="3", title="Sandal")


def test_the_gateways_own_rejects(gateway: FakeGateway, tmp_path: Path) -> None:
    """A product that the gateway refuses is written with its line of the file, in every message of a stream."""
    rows = [f"{n},{'refuse me' if n in (7, 333, 2100) else 'Shoe'}" for n in range(2, 2_202)]
    summary, rejects = imported(gateway, put(tmp_path, "id,title", *rows))
    assert (summary.read, summary.imported, summary.rejected) == (2_200, 2_197, 3)
    assert [(entry["line"], entry["field"], entry["reason"]) for entry in rejects] == [
        (line, "title", "a bad title") for line in (7, 333, 2_100)
    ]


def test_large_products_make_smaller_messages(gateway: FakeGateway, tmp_path: Path) -> None:
    """Long texts and many attributes divide an import into messages that the gateway accepts."""
    long = [json.dumps({"id": f"l{n}", "title": "a", "description": "鞋" * 15_000}) for n in range(150)]
    values = [f"v{n}" for n in range(32)]
    attributes = {f"a{n}": values for n in range(64)}
    wide = [json.dumps({"id": f"w{n}", "title": "a", "attributes": attributes}) for n in range(40)]
    summary, _ = imported(gateway, put(tmp_path, *long, *wide, name="p.jsonl"))
    assert summary.imported == 190
    assert max(gateway.message_sizes) < 5 << 20
    assert len(gateway.message_sizes) >= 2 + 4


def test_the_same_id_twice(gateway: FakeGateway, tmp_path: Path) -> None:
    """The same product again counts as a duplicate; another product with that id is rejected with the first line."""
    path = put(tmp_path, "id,title", "1,Shoe", "2,Boot", "1,Shoe", "1,Sandal")
    summary, rejects = imported(gateway, path)
    assert (summary.imported, summary.duplicates, summary.rejected) == (2, 1, 1)
    assert [(entry["line"], entry["field"]) for entry in rejects] == [(5, "id")]
    assert "first on line 2" in rejects[0]["reason"]
    assert gateway.products["1"].title == "Shoe"


def test_a_second_import_changes_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    """When the same file is imported again, every row is unchanged."""
    path = put(tmp_path, "id,title", "1,Shoe", "2,Boot")
    imported(gateway, path)
    before = dict(gateway.products)
    summary, _ = imported(gateway, path)
    assert (summary.imported, summary.unchanged) == (0, 2)
    assert gateway.products == before


def test_events_are_recorded_once(gateway: FakeGateway, tmp_path: Path) -> None:
    """Good events are recorded with all fields, bad ones are rejected by field, and a second import records none."""
    path = put(
        tmp_path, "event_id,user_id,item_id,type,time,query,dwell_ms,quantity",
        "e1,u,p1,click,2024-05-01T10:00:00Z,,,", "e2,u,,search,,red shoes,,", "e3,u,p1,dwell,,,30000,",
        "e4,u,p1,purchase,,,,2", "e5,u,p1,wink,,,,", "e6,,p1,click,,,,", "e7,u,,click,,,,", "e8,u,p1,click,noon,,,",
        "e9,u,p1,cart,,,,-1",
    )  # fmt: skip
    summary, rejects = recorded(gateway, path)
    assert (summary.read, summary.imported, summary.rejected) == (9, 4, 5)
    assert [(e["line"], e["field"]) for e in rejects] == [
        (6, "type"), (7, "user_id"), (8, "item_id"), (9, "time"), (10, "quantity"),
    ]  # fmt: skip
    assert gateway.events["e1"].occurred_at.ToJsonString() == "2024-05-01T10:00:00Z"
    assert gateway.events["e2"].query == "red shoes"
    assert gateway.events["e3"].dwell_ms == 30_000
    assert gateway.events["e4"].quantity == 2
    again, _ = recorded(gateway, path)
    assert (again.imported, again.duplicates) == (0, 4)


def test_events_that_the_gateway_rejects(gateway: FakeGateway, tmp_path: Path) -> None:
    """Rejected events are written with their lines, and the others of the message are recorded."""
    rows = [f"e{n},u,,search,{'refuse me' if n in (3, 4, 9, 11, 12) else 'red'}" for n in range(2, 15)]
    summary, rejects = recorded(gateway, put(tmp_path, "event_id,user_id,item_id,type,query", *rows))
    assert (summary.read, summary.imported, summary.rejected) == (13, 8, 5)
    assert [(entry["line"], entry["field"]) for entry in rejects] == [(n, "query") for n in (3, 4, 9, 11, 12)]
    assert rejects[0]["reason"] == "a bad query"
    assert len(gateway.events) == 8


def test_a_message_without_a_valid_event(gateway: FakeGateway, tmp_path: Path) -> None:
    """A refusal of the whole message does not end an import: each event is rejected, also those it has no room for."""
    rows = [f"e{n},u,,search,refuse me" for n in range(2, 7)]
    summary, rejects = recorded(gateway, put(tmp_path, "event_id,user_id,item_id,type,query", *rows))
    assert (summary.imported, summary.rejected) == (0, 5)
    assert [entry["line"] for entry in rejects] == [2, 3, 4, 5, 6]


def test_what_was_paid_is_imported(gateway: FakeGateway, tmp_path: Path) -> None:
    """Price with its currency in one cell or in two, order and quote; a price without a currency is rejected."""
    summary, rejects = recorded(
        gateway,
        put(
            tmp_path, "event_id,user_id,item_id,type,price,currency,quantity,order_id,quote_id",
            'e1,u,p1,purchase,"1,299.50",EUR,2,o-1,q-1', "e2,u,p1,purchase,19.99 USD,,,,",
            "e3,u,p1,refund,,,1,o-1,", "e4,u,p1,purchase,5.00,,,,", "e5,u,p1,purchase,5.00,ABC,,,",
        ),
    )  # fmt: skip
    assert summary.imported == 3
    assert [(e["line"], e["field"]) for e in rejects] == [(5, "price.currency_code"), (6, "currency")]
    bought = gateway.events["e1"]
    assert (bought.price.currency_code, bought.price.units, bought.price.nanos) == ("EUR", 1_299, 500_000_000)
    assert (bought.quantity, bought.order_id, bought.quote_id) == (2, "o-1", "q-1")
    assert gateway.events["e2"].price.currency_code == "USD"
    assert gateway.events["e3"].type == event_pb2.EVENT_TYPE_REFUND


def test_an_event_far_ahead_is_rejected(gateway: FakeGateway, tmp_path: Path) -> None:
    """One event a week ahead, and one without a person, do not keep the others out."""
    ahead = (datetime.now(UTC) + timedelta(days=7)).isoformat()
    path = put(
        tmp_path, "event_id,user_id,item_id,type,time", "e1,u,p,click,", f"e2,u,p,click,{ahead}", "e3,,p,click,",
        "e4,u,p,CART,1712101512345",
    )  # fmt: skip
    summary, rejects = recorded(gateway, path)
    assert (summary.imported, summary.rejected) == (2, 2)
    assert [(entry["line"], entry["field"]) for entry in rejects] == [(3, "occurred_at"), (4, "user_id")]
    assert "more than a day ahead" in rejects[0]["reason"]
    assert gateway.events["e4"].occurred_at.ToJsonString() == "2024-04-02T23:45:12.345Z"


def test_a_used_quota_does_not_end_an_import(gateway: FakeGateway, tmp_path: Path) -> None:
    """If the gateway says when to try again, the message is sent again then."""
    path = put(tmp_path, "event_id,user_id,type,query", "e1,u,search,too often")
    summary, _ = recorded(gateway, path)
    assert gateway.was_unavailable
    assert summary.imported == 1


def test_an_export_is_imported_again(gateway: FakeGateway, tmp_path: Path) -> None:
    """The events of an export are recorded as they were; its other records are passed over."""
    event = event_pb2.Event(
        event_id="e1", user_id="u", session_id="s", item_id="p", type=event_pb2.EVENT_TYPE_DWELL, query="鞋",
        quantity=2, dwell_ms=30_000, attribution_token="t", visitor_id="v", order_id="o", quote_id="q",
        price=common_pb2.Money(currency_code="KWD", units=12, nanos=345_000_000),
    )  # fmt: skip
    event.occurred_at.FromJsonString("2024-05-01T10:00:00.250Z")
    lines = [
        {"record": kind} | MessageToDict(event, preserving_proto_field_name=snake_case)
        for kind, snake_case in (("profile", True), ("event", True), ("event", False), ("ranking", True))
    ]
    summary, _ = recorded(gateway, put(tmp_path, *map(json.dumps, lines), name="export.jsonl"))
    assert (summary.read, summary.imported, summary.duplicates, summary.skipped) == (4, 1, 1, 2)
    assert gateway.events["e1"] == event


@pytest.mark.parametrize("name", ["click", "CLICK", "EVENT_TYPE_CLICK", " event_type_click "])
def test_names_of_types(name: str) -> None:
    """A type has the name that people use, or that of the contract."""
    row = {"event_id": "e", "user_id": "u", "item_id": "p", "type": name}
    assert event_of(row).type == event_pb2.EVENT_TYPE_CLICK


@pytest.mark.parametrize(
    ("key", "value"),
    [("user_id", "null"), ("user_id", "undefined"), ("user_id", float("nan")), ("item_id", "NaN"), ("event_id", " ")],
)
def test_an_id_that_says_nothing(key: str, value: object) -> None:
    """What programs write for a missing id is no id: it would join the histories of strangers."""
    row = {"event_id": "e", "user_id": "u", "item_id": "p", "type": "click"} | {key: value}
    with pytest.raises(RowRefused, match=key):
        event_of(row)


def test_a_time_without_a_zone_is_utc() -> None:
    """A time without a zone is read as UTC; a time with a zone is converted."""
    values = {"event_id": "e", "user_id": "u", "item_id": "p", "type": "Click"}
    assert event_of(values).type == event_pb2.EVENT_TYPE_CLICK
    assert event_of(values | {"time": "2024-05-01 10:00"}).occurred_at.ToJsonString() == "2024-05-01T10:00:00Z"
    assert event_of(values | {"time": "2024-05-01T10:00+08:00"}).occurred_at.ToJsonString() == "2024-05-01T02:00:00Z"
    with pytest.raises(RowRefused, match="time"):
        event_of(values | {"time": "9999-12-31T23:59:59-12:00"})
