"""The audit over SQLAlchemy: SQLite in a file of its own, or PostgreSQL."""

from __future__ import annotations

import fcntl
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from services.common.errors import Unavailable
from services.control.adapters import audit_partitions as tables
from services.control.adapters.archived_ids import digest_of, known_among, rows_of
from services.control.adapters.audit_partitions import ONLINE, PERIOD_US, Partition, PartitionState, period_of
from services.control.adapters.database import Database
from services.control.adapters.schema import ARCHIVED_IDS, PARTITIONS, migrate_audit
from services.control.domain.audit import Entry, EntryFilter, EntryKind, Place
from services.control.ports import AuditBounds, AuditSize, EntryArchive

# Any number that nothing else in the database locks.
_ARCHIVING = 4_711_022
# Rows that the archive reads at a time, and that SQLite removes in one step: others wait some 20 ms for it.
_ROWS, _STEP = 2_000, 1_000
# The archive works at most so much of the time, and leaves the rest to those who record: while it reads and writes
# files, and while it keeps SQLite's only lock.
_READING, _REMOVING = 0.5, 0.25
# Partitions that are opened at a time: PostgreSQL takes some 25 ms for each, and others wait.
_OPENED = 24
# Tries to find the partitions of a call, if the archive closes them again and again.
_TRIES = 5

_Key = tuple[str, str, str]


class _Stopped(Exception):
    """The process is stopping."""


class SqlAuditStore:
    """See ports.AuditStore. `url` is SQLAlchemy's: sqlite:///folder/audit.db, or postgresql+psycopg://user@host/name.

    Migrates the tables. Raises Conflict if a newer version of Kairos has made them, and Unavailable. `clock` gives
    seconds since the epoch.
    """

    def __init__(
        self, url: str, archive: EntryArchive, bounds: AuditBounds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._archive, self._bounds, self._clock = archive, bounds or AuditBounds(), clock
        self._database = Database(url, shrinks=True)
        self._file = Path(self._database.engine.url.database or "")
        with self._database.transaction(writes=True) as connection:
            migrate_audit(connection)

    def record(self, tenant: str, entries: Sequence[Entry]) -> int:
        by_period: dict[int, dict[tuple[EntryKind, str], Entry]] = {}
        for entry in entries:
            by_period.setdefault(period_of(entry.recorded_us), {}).setdefault((entry.kind, entry.id), entry)
        for _ in range(_TRIES):
            with self._database.transaction(writes=True) as connection:
                tables.hold_gate(connection)
                found = tables.partitions(connection, tuple(PartitionState), PARTITIONS.c.period_us.in_(by_period))
                opened = {one.period_us: one for one in found if one.state is PartitionState.OPEN}
                if len(opened) == len(by_period):
                    return self._insert(connection, tenant, by_period, found)
            self._open(by_period.keys() - opened.keys())
        raise Unavailable("the partitions of the audit change too fast; try again")

    def entries(self, tenant: str, only: EntryFilter, after: Place | None, limit: int) -> list[Entry]:
        found: list[Entry] = []
        with self._database.transaction() as connection:
            tables.hold_gate(connection)
            for some in _by_period(tables.partitions(connection, ONLINE, *_periods(only, after))):
                if len(found) >= limit:
                    break
                rest = limit - len(found)
                rows = [row for one in some for row in tables.entries_in(connection, one, tenant, only, after, rest)]
                found += sorted(rows, key=lambda entry: entry.place, reverse=True)[:rest]
        return found

    def entry(self, tenant: str, kind: EntryKind, id: str) -> Entry | None:
        with self._database.transaction() as connection:
            tables.hold_gate(connection)
            for partition in reversed(tables.partitions(connection, ONLINE)):
                if entry := tables.entry_in(connection, partition, tenant, kind, id):
                    return entry
        return None

    def archive(self, stop: threading.Event, on_moved: Callable[[int], object]) -> None:
        with self._alone() as is_alone, suppress(_Stopped):
            if not is_alone:
                return
            self._drop_archived(stop)
            for partition in self._due():
                with self._changing() as connection:
                    tables.close(connection, partition)
                on_moved(self._move(partition, stop))
                self._drop_archived(stop)
            self._forget_ids()
            self._archive.keep_within_bound()

    def size(self) -> AuditSize:
        with self._database.transaction() as connection:
            entries = sum(one.entries for one in tables.partitions(connection, ONLINE))
            if self._database.is_postgresql:
                used = "SELECT COALESCE(SUM(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r'"
                used += " AND relname LIKE 'audit\\_%' AND pg_table_is_visible(oid)"
                size = int(connection.execute(sa.text(used)).scalar_one())
            else:
                size = sum(path.stat().st_size for path in self._file.parent.glob(f"{self._file.name}*"))
        return AuditSize(entries, size, self._archive.local_bytes())

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _changing(self) -> Iterator[sa.Connection]:
        with self._database.transaction(writes=True) as connection:
            tables.hold_gate(connection, alone=True)
            yield connection

    def _open(self, periods: set[int]) -> None:
        """Makes an open partition for each period that has none."""
        wanted = sorted(periods)
        for start in range(0, len(wanted), _OPENED):
            some = wanted[start : start + _OPENED]
            with self._changing() as connection:
                found = tables.partitions(connection, [PartitionState.OPEN], PARTITIONS.c.period_us.in_(some))
                for period_us in sorted({*some} - {one.period_us for one in found}):
                    tables.create(connection, period_us, self._now_us())

    def _insert(
        self, connection: sa.Connection, tenant: str, by_period: dict[int, dict[tuple[EntryKind, str], Entry]],
        found: Sequence[Partition],
    ) -> int:  # fmt: skip
        stored: list[tuple[Partition, int]] = []
        # Those that are not open come first: `found` is in the order of making.
        for partition in found:
            entries = by_period[partition.period_us]
            if partition.state is PartitionState.OPEN:
                number = tables.insert(connection, partition, tenant, list(entries.values())) if entries else 0
                stored.append((partition, number))
            elif entries and partition.state is PartitionState.CLOSED:
                for key in tables.present_in(connection, partition, tenant, entries.values()):
                    del entries[key]
            elif entries:
                digests = {digest_of(tenant, kind.value, id): (kind, id) for kind, id in entries}
                for digest in known_among(connection, partition.number, digests):
                    del entries[digests[digest]]
        # At the end and in order: other processes wait for these rows until this one has committed.
        for partition, number in stored:
            if number:
                tables.count(connection, partition, number)
        return sum(number for _, number in stored)

    def _due(self) -> list[Partition]:
        """What goes to the archive: beyond the bounds, and not of the hour in progress or the one before."""
        with self._database.transaction() as connection:
            found = tables.partitions(connection, ONLINE)
        now_us, due = self._now_us(), list[Partition]()
        online = sum(partition.entries for partition in found)
        for partition in found:
            ended_us = partition.period_us + PERIOD_US
            is_settled = now_us - PERIOD_US >= max(ended_us, partition.opened_us)
            is_old = now_us - self._bounds.online_s * 1e6 >= ended_us
            is_beyond = is_settled and (is_old or online > self._bounds.online_entries)
            if is_beyond or partition.state is PartitionState.CLOSED:
                due.append(partition)
                online -= partition.entries
        return due

    def _move(self, partition: Partition, stop: threading.Event) -> int:
        """Writes a closed partition to the archive. A repetition writes the same files."""
        digests = sorted(digest_of(*key) for key in self._keys_of(partition, stop))
        hour = datetime.fromtimestamp(partition.period_us / 1e6, UTC)
        # Named after its content: another content never replaces it, not even after a restore of an older database.
        name = f"{hour:%Y-%m-%dT%H}-{hashlib.sha256(b''.join(digests)).hexdigest()[:16]}"
        with self._database.transaction() as connection:
            counts = tables.counts_of(connection, partition)
        for kind, number in counts.items():
            self._archive.write(name, kind, self._rows_of(partition, kind, stop), number)
        with self._database.transaction(writes=True) as connection:
            connection.execute(sa.delete(ARCHIVED_IDS).where(ARCHIVED_IDS.c.number == partition.number))
            if rows := list(rows_of(partition.number, digests)):
                connection.execute(sa.insert(ARCHIVED_IDS), rows)
        with self._changing() as connection:
            tables.set_state(connection, partition, PartitionState.CLOSED, PartitionState.ARCHIVED)
        return len(digests)

    def _keys_of(self, partition: Partition, stop: threading.Event) -> Iterator[_Key]:
        key: _Key | None = ("", "", "")
        while key is not None:
            with self._paced(stop, _READING), self._database.transaction() as connection:
                keys = tables.keys_after(connection, partition, key, _ROWS)
            yield from keys
            key = keys[-1] if keys else None

    def _rows_of(self, partition: Partition, kind: EntryKind, stop: threading.Event) -> Iterator[tuple[str, Entry]]:
        key: tuple[str, int, str] | None = ("", 0, "")
        while key is not None:
            with self._paced(stop, _READING):
                with self._database.transaction() as connection:
                    rows = tables.rows_after(connection, partition, kind, key, _ROWS)
                yield from rows
            key = (rows[-1][0], rows[-1][1].recorded_us, rows[-1][1].id) if rows else None

    def _drop_archived(self, stop: threading.Event) -> None:
        """Also what a process that was killed has left."""
        with self._database.transaction() as connection:
            found = tables.partitions(connection, [PartitionState.ARCHIVED])
        for partition in found:
            if not self._database.is_postgresql:
                self._empty(partition, stop)
            with self._database.transaction(writes=True) as connection:
                tables.drop(connection, partition)

    def _empty(self, partition: Partition, stop: threading.Event) -> None:
        """SQLite would keep others waiting while it drops a large table."""
        with self._database.transaction(writes=True) as connection:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {partition.table}_DELETE_is_refused")
        oldest = f"SELECT rowid FROM {partition.table} LIMIT {_STEP}"
        removed = _STEP
        while removed == _STEP:
            with self._paced(stop, _REMOVING):
                with self._database.transaction(writes=True) as connection:
                    statement = f"DELETE FROM {partition.table} WHERE rowid IN ({oldest})"
                    removed = connection.exec_driver_sql(statement).rowcount
                self._database.give_space_back(_STEP)

    def _forget_ids(self) -> None:
        """The ids of the oldest archived partitions beyond the bound."""
        with self._database.transaction() as connection:
            found = tables.partitions(connection, [PartitionState.DROPPED])
        known = sum(partition.entries for partition in found)
        for partition in found:
            if known <= self._bounds.known_ids:
                return
            known -= partition.entries
            with self._changing() as connection:
                connection.execute(sa.delete(ARCHIVED_IDS).where(ARCHIVED_IDS.c.number == partition.number))
                connection.execute(sa.delete(PARTITIONS).where(PARTITIONS.c.number == partition.number))

    @contextmanager
    def _paced(self, stop: threading.Event, share: float) -> Iterator[None]:
        """Waits afterwards. Raises _Stopped."""
        began = time.monotonic()
        yield
        if stop.wait((time.monotonic() - began) * (1 / share - 1)):
            raise _Stopped

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process archives."""
        if self._database.is_postgresql:
            with self._database.session() as connection:
                held = connection.execute(sa.text(f"SELECT pg_try_advisory_lock({_ARCHIVING})")).scalar_one()
                try:
                    yield bool(held)
                finally:
                    if held:
                        connection.execute(sa.text(f"SELECT pg_advisory_unlock({_ARCHIVING})"))
            return
        with self._file.with_name("lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)


def _by_period(found: Sequence[Partition]) -> Iterator[list[Partition]]:
    """The latest hour first."""
    some: dict[int, list[Partition]] = {}
    for partition in reversed(found):
        some.setdefault(partition.period_us, []).append(partition)
    yield from some.values()


def _periods(only: EntryFilter, after: Place | None) -> Iterator[sa.ColumnElement[bool]]:
    column = PARTITIONS.c.period_us
    if only.from_us is not None:
        yield column >= period_of(only.from_us)
    if only.until_us is not None:
        yield column < only.until_us
    if after is not None:
        yield column <= after.recorded_us
