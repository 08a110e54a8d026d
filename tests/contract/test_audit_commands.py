"""`kairos control audit` and `import-audit` against a real control."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from cli.main import app
from kairos.control.v1 import audit_pb2, audit_pb2_grpc
from tests.contract.controls import entry_of
from tests.integration.processes import Process, free_port, started

NOW_S = int(time.time()) - 3_600


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A control without keys, in a process of its own."""
    port = free_port()
    environment = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path_factory.mktemp("control")),
        "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }
    with started(Process("services.control", **environment)):
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_reconnect_backoff_ms", 500)]) as channel:
            grpc.channel_ready_future(channel).result(60)
        yield f"127.0.0.1:{port}"


def kairos(target: str, tenant: str, *arguments: str, expected: int = 0) -> str:
    """What `kairos control` prints."""
    done = CliRunner().invoke(app, ["control", "--target", target, "--tenant", tenant, *arguments])
    assert done.exit_code == expected, f"{arguments} ended with {done.exit_code}\n{done.output}"
    return done.output


def test_entries_are_listed_and_read(target: str) -> None:
    """By subject, request and time; in a table and as JSON; an unknown id ends with exit code 1."""
    entries = [entry_of(f"q{n}", NOW_S + n, subject_id=f"p{n % 2}", request_id=f"r{n}") for n in range(4)]
    with grpc.insecure_channel(target) as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        stub.RecordEntries(audit_pb2.RecordEntriesRequest(tenant="listed", entries=entries), timeout=10)

    def ids(*filters: str) -> list[str]:
        return [one["id"] for one in json.loads(kairos(target, "listed", "audit", "list", "--json", *filters))]

    assert ids() == ["q3", "q2", "q1", "q0"]
    assert ids("--subject", "p1") == ["q3", "q1"]
    assert ids("--request", "r2") == ["q2"]
    assert ids("--limit", "1") == ["q3"]
    moments = [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW_S + n)) for n in (1, 3)]
    assert ids("--from", moments[0], "--until", f"{moments[1]}Z") == ["q2", "q1"]
    table = kairos(target, "listed", "audit", "list", "--subject", "p1")
    assert "USD 9.50 of USD 10.00" in " ".join(table.split())
    one = json.loads(kairos(target, "listed", "audit", "get", "price_quote", "q2", "--json"))
    assert one["quoted_price"]["quote"]["quote_id"] == "q2"
    assert "archive" in kairos(target, "listed", "audit", "get", "price_quote", "q9", expected=1)
    assert "price_quote" in kairos(target, "listed", "audit", "get", "quote", "q2", expected=2)
    assert "--from" in kairos(target, "listed", "audit", "list", "--from", "yesterday", expected=2)
    assert "until" in kairos(
        target, "listed", "audit", "list", "--from", "2026-01-02", "--until", "2026-01-01", expected=2
    )


def test_a_decision_is_listed_and_read(target: str) -> None:
    """With its kind, price, list price and policy."""
    decided = audit_pb2.AuditEntry(id="d1", subject_id="p1")
    decided.recorded_at.FromSeconds(NOW_S)
    made = decided.price_decision
    made.item_id, made.model_version = "p1", "greedy@1"
    for money, units in ((made.list_price, 10), (made.base_price, 10), (made.price, 9)):
        money.currency_code, money.units = "USD", units
    with grpc.insecure_channel(target) as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        stub.RecordEntries(audit_pb2.RecordEntriesRequest(tenant="decided", entries=[decided]), timeout=10)
    table = " ".join(kairos(target, "decided", "audit", "list").split())
    assert "price_decision" in table
    assert "USD 9.00 of USD 10.00" in table
    one = json.loads(kairos(target, "decided", "audit", "get", "price_decision", "d1", "--json"))
    assert one["price_decision"]["price"]["units"] == "9"


EARLIER = (
    "tenant", "quote_id", "item_id", "currency", "list_price", "cost", "merchandiser_floor", "merchandiser_ceiling",
    "stock", "created_s", "price_floor", "price_ceiling", "offer", "reason", "explanation", "model_version",
    "request_id", "quoted_s", "valid_until_s",
)  # fmt: skip


def earlier_quote(id: str, tenant: str = "shop") -> tuple[str | None, ...]:
    return (
        tenant, id, "p1", "EUR", "10.00", None, "8", None, "3", "0.0", "7.00", "10.00", "9.5", "guardrail", "Why.",
        "rules@1", "r1", str(NOW_S + 0.25), str(NOW_S + 900.25),
    )  # fmt: skip


@pytest.fixture
def earlier_log(tmp_path: Path) -> Path:
    """The audit.db of pricing: a partition without the columns of today, one that is archived, and an open one."""
    file = tmp_path / "audit.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE partition (number INTEGER PRIMARY KEY, archived_s REAL)")
        db.execute("INSERT INTO partition VALUES (1, NULL), (2, 5.0), (10, NULL)")
        for number, more in ((1, ()), (2, ()), (10, ("price_list_id", "place_id"))):
            columns = (*EARLIER, *more)
            db.execute(f"CREATE TABLE quote_{number} ({', '.join(f'{name} TEXT' for name in columns)})")
            for tenant in ("shop", "other"):
                row = (
                    *earlier_quote(f"q{number}", tenant),
                    *("list" if name == "price_list_id" else "" for name in more),
                )
                db.execute(f"INSERT INTO quote_{number} VALUES ({', '.join('?' * len(columns))})", row)
        db.execute("CREATE VIEW quote AS SELECT tenant FROM quote_1 UNION ALL SELECT tenant FROM quote_10")
        db.commit()
    return file


def test_the_log_of_an_earlier_version_is_imported(target: str, earlier_log: Path) -> None:
    """Its quotes are recorded with all fields, each for its tenant, once; archived partitions are left out."""
    assert json.loads(kairos(target, "", "import-audit", str(earlier_log), "--json")) == {"quotes": 4, "stored": 4}
    assert "4 quotes, 0 of them" in kairos(target, "", "import-audit", str(earlier_log))
    found = json.loads(kairos(target, "other", "audit", "list", "--json"))
    assert [one["id"] for one in found] == ["q10", "q1"]
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(NOW_S))}.250Z"
    assert found[0]["recorded_at"] == moment
    assert (found[0]["subject_id"], found[0]["request_id"]) == ("p1", "r1")
    item, quote = found[0]["quoted_price"]["item"], found[0]["quoted_price"]["quote"]
    assert item == {
        "item_id": "p1", "list_price": {"currency_code": "EUR", "units": "10"},
        "price_floor": {"currency_code": "EUR", "units": "8"}, "stock": "3", "price_list_id": "list",
    }  # fmt: skip
    assert (quote["offer"], quote["reason"]) == (
        {"currency_code": "EUR", "units": "9", "nanos": 500_000_000}, "PRICE_REASON_GUARDRAIL",
    )  # fmt: skip


def test_only_the_named_tenant_is_imported(target: str, earlier_log: Path) -> None:
    """With --tenant the quotes of the others are left out."""
    assert "2 quotes" in kairos(target, "other", "import-audit", str(earlier_log))


@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_a_file_that_is_no_log_is_refused(target: str, tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing, is no database or has no quotes is named, with exit code 2."""
    file = tmp_path / "wrong.db"
    if content is not None:
        file.write_bytes(content)
    assert "give the audit.db of pricing" in kairos(target, "", "import-audit", str(file), expected=2)
