"""Several processes: kill -9 of control and its PostgreSQL while two senders record, and while control archives.

No acknowledged entry is lost, and none is stored twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import grpc
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from kairos.control.v1 import audit_pb2, audit_pb2_grpc
from services.control.adapters.parquet_archive import ParquetArchive
from services.control.adapters.sql_audit_store import SqlAuditStore
from services.control.convert_audit import entries_from_proto
from services.control.domain.audit import EntryFilter
from tests.contract.controls import entry_of
from tests.integration.postgres_server import PostgresServer
from tests.integration.processes import Process, free_port, started, wait_for

BATCHES, BATCH = 100, 1_000
# The last batches of the first sender are the first ones of the second: both deliver them.
SHARED = 10
HOUR_S = 3_600.0


class Engine:
    """A database of the test's own, and what control needs to use it."""

    def __init__(self, name: str, folder: Path, request: pytest.FixtureRequest) -> None:
        self.server: PostgresServer | None = None
        self.environment = {"KAIROS_CONTROL_DATA_DIR": str(folder), "KAIROS_CONTROL_METRICS__PORT": "0"}
        self.url = f"sqlite:///{folder / 'audit.db'}"
        if name == "postgresql":
            self.server = request.getfixturevalue("postgres_server")
            self.url = self.environment["KAIROS_CONTROL_DATABASE_URL"] = self.server.database()
        folder.mkdir()

    def store(self) -> SqlAuditStore:
        return SqlAuditStore(self.url, ParquetArchive("", {}))

    def control(self, port: int, **environment: str) -> Process:
        return Process("services.control", KAIROS_CONTROL_SERVER__PORT=str(port), **self.environment, **environment)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return Engine(request.param, tmp_path / "control", request)


class Sender:
    """Records one batch after the other. It repeats a call until it is acknowledged."""

    def __init__(self, port: int, batches: range) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._stub, self._batches = audit_pb2_grpc.AuditServiceStub(self._channel), batches
        self.acknowledged, self.repeated = 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def has_recorded(self, batches: int) -> bool:
        return self.acknowledged >= min(batches, len(self._batches))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._channel.close()

    def _run(self) -> None:
        for number in self._batches:
            request = audit_pb2.RecordEntriesRequest(entries=batch(number))
            while not self._stop.is_set():
                try:
                    self._stub.RecordEntries(request, timeout=5)
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        raise
                    self.repeated += 1
                    time.sleep(0.02)  # before the same call again
                else:
                    self.acknowledged += 1
                    break


STARTED_S = time.time()


def batch(number: int) -> Iterator[audit_pb2.AuditEntry]:
    """Of three hours."""
    first = entry_of("", STARTED_S - number % 3 * HOUR_S)
    for place in range(BATCH):
        entry = audit_pb2.AuditEntry()
        entry.CopyFrom(first)
        entry.id = entry.quoted_price.quote.quote_id = id_of(number, place)
        yield entry


def id_of(number: int, place: int) -> str:
    return f"q{number:03}-{place:04}"


def test_each_entry_is_stored_once(engine: Engine) -> None:
    """Two senders record 100,000 entries, some of them both, while control and PostgreSQL die: each is stored once.

    With PostgreSQL each sender has a control of its own.
    """
    ports = [free_port() for _ in range(2 if engine.server else 1)]
    with ExitStack() as stack:
        controls = [stack.enter_context(started(engine.control(port))) for port in ports]
        half = BATCHES // 2
        shares = range(half + SHARED), range(half, BATCHES)
        senders = [
            stack.enter_context(closing(Sender(port, share)))
            for port, share in zip(ports * (2 // len(ports)), shares, strict=True)
        ]
        # PostgreSQL first: what it reads again after a kill grows with what was written.
        victims: list[Process | PostgresServer] = [engine.server or controls[0], controls[0], controls[-1]]
        for turn, victim in enumerate(victims, 1):
            wait_for(partial(senders[0].has_recorded, turn * 12))
            victim.kill()
            victim.start()
        for sender, share in zip(senders, shares, strict=True):
            wait_for(partial(sender.has_recorded, len(share)))
        assert sum(sender.repeated for sender in senders) > 0
    with closing(engine.store()) as store:
        found = [entry.id for entry in store.entries("default", EntryFilter(), None, 2 * BATCHES * BATCH)]
        counted = store.size().online_entries
    assert sorted(found) == [id_of(number, place) for number in range(BATCHES) for place in range(BATCH)]
    assert counted == len(found)


def test_each_entry_is_archived_once(engine: Engine, tmp_path: Path) -> None:
    """Control dies while it writes a file, and when the file is there: the hour is archived once, and removed."""
    old = [number for number in range(15) if number % 3 == 2]
    with closing(engine.store()) as store:
        for number in (0, *old):
            store.record("default", entries_from_proto(list(batch(number)), STARTED_S))
    executed(engine.url, "UPDATE audit_partitions SET opened_us = 0")
    archive = tmp_path / "archive"
    settings = {
        "KAIROS_CONTROL_AUDIT__ARCHIVE_URL": str(archive),
        "KAIROS_CONTROL_AUDIT__INTERVAL_S": "0.01",
        "KAIROS_CONTROL_AUDIT__ONLINE_DAYS": "0.01",
    }
    with started(engine.control(free_port(), **settings)) as control:
        for ending in (".draft", ".parquet"):
            wait_for(lambda ending=ending: any(archive.glob(f"*{ending}")))  # type: ignore[misc]
            control.kill()
            control.start()
        wait_for(lambda: states(engine.url) == {"open", "dropped"})
    ids = [row["quote_id"] for file in archive.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert sorted(ids) == [id_of(number, place) for number in old for place in range(BATCH)]
    with closing(engine.store()) as store:
        assert store.size().online_entries == BATCH
        assert store.record("default", entries_from_proto(list(batch(old[0])), STARTED_S)) == 0


def states(url: str) -> set[str]:
    return {state for (state,) in executed(url, "SELECT state FROM audit_partitions")}


def executed(url: str, statement: str) -> list[tuple[str]]:
    """Rows, if there are any."""
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()
