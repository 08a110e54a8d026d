"""The partitions of the audit: each is a table with the entries of one hour. The table `audit_partitions` lists them.

Usually an hour has one partition. It has a further one for entries that come when the first one is closed already.
Triggers refuse every change of an entry, and new entries in a closed partition.

A transaction of PostgreSQL that reads or writes entries shares the gate with others; one that changes the list holds it
alone. So nobody writes to a partition that was closed meanwhile, and nobody reads from one that was dropped. SQLite
needs no gate: its transactions see one moment, and one of them writes at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

from services.control.adapters.schema import PARTITIONS
from services.control.domain.audit import Entry, EntryFilter, EntryKind, Place

PERIOD_US = 3_600_000_000
# Any number that nothing else in the database locks.
_GATE = 4_711_021
_COLUMNS = "kind, id, recorded_us, subject_id, request_id, content"


class PartitionState(Enum):
    """The values are stored."""

    OPEN = "open"
    # It is final, and on its way to the archive.
    CLOSED = "closed"
    # The archive has it; the table may still be there.
    ARCHIVED = "archived"
    # The archive has it, and only the ids are still known.
    DROPPED = "dropped"


ONLINE = (PartitionState.OPEN, PartitionState.CLOSED)


@dataclass(frozen=True)
class Partition:
    """`period_us`: the beginning of the hour."""

    number: int
    period_us: int
    opened_us: int
    state: PartitionState
    entries: int

    @property
    def table(self) -> str:
        return f"audit_entries_{self.number}"


def period_of(recorded_us: int) -> int:
    return recorded_us - recorded_us % PERIOD_US


def hold_gate(connection: sa.Connection, alone: bool = False) -> None:
    if connection.dialect.name == "postgresql":
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        connection.execute(sa.text(f"SELECT {function}({_GATE})"))


def partitions(
    connection: sa.Connection, states: Sequence[PartitionState] = tuple(PartitionState), *conditions: Any
) -> list[Partition]:
    """In the order of their hours, and of their making within an hour."""
    columns = PARTITIONS.c
    query = sa.select(PARTITIONS).where(columns.state.in_([state.value for state in states]), *conditions)
    rows = connection.execute(query.order_by(columns.period_us, columns.number))
    return [Partition(row.number, row.period_us, row.opened_us, PartitionState(row.state), row.entries) for row in rows]


def create(connection: sa.Connection, period_us: int, now_us: int) -> None:
    """Alone at the gate."""
    values = {"period_us": period_us, "opened_us": now_us, "state": PartitionState.OPEN.value, "entries": 0}
    query = sa.insert(PARTITIONS).values(values).returning(PARTITIONS.c.number)
    name = Partition(connection.execute(query).scalar_one(), period_us, now_us, PartitionState.OPEN, 0).table
    is_postgresql = connection.dialect.name == "postgresql"
    text, number, blob = ('TEXT COLLATE "C"', "BIGINT", "BYTEA") if is_postgresql else ("TEXT", "INTEGER", "BLOB")
    statements = [
        f"CREATE TABLE {name} (tenant {text} NOT NULL, kind {text} NOT NULL, id {text} NOT NULL,"
        f" recorded_us {number} NOT NULL, subject_id {text} NOT NULL, request_id {text} NOT NULL,"
        f" content {blob} NOT NULL, PRIMARY KEY (tenant, kind, id))",
        f"CREATE INDEX {name}_by_time ON {name} (tenant, recorded_us)",
        f"CREATE INDEX {name}_by_subject ON {name} (tenant, subject_id, recorded_us)",
        f"CREATE INDEX {name}_by_request ON {name} (tenant, request_id)",
    ]
    if is_postgresql:
        statements.append(
            f"CREATE TRIGGER is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON {name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_are_final()"
        )
    else:
        statements += [
            f"CREATE TRIGGER {name}_{event}_is_refused BEFORE {event} ON {name}"
            " BEGIN SELECT RAISE(ABORT, 'an audit entry is never changed or removed'); END"
            for event in ("UPDATE", "DELETE")
        ]
    for statement in statements:
        connection.exec_driver_sql(statement)


def close(connection: sa.Connection, partition: Partition) -> None:
    """Alone at the gate."""
    if not set_state(connection, partition, PartitionState.OPEN, PartitionState.CLOSED):
        return
    if connection.dialect.name == "postgresql":
        action = "FOR EACH STATEMENT EXECUTE FUNCTION audit_partition_is_closed()"
    else:
        action = "BEGIN SELECT RAISE(ABORT, 'this partition of the audit is closed'); END"
    name = partition.table
    connection.exec_driver_sql(f"CREATE TRIGGER {name}_is_closed BEFORE INSERT ON {name} {action}")


def set_state(connection: sa.Connection, partition: Partition, before: PartitionState, after: PartitionState) -> bool:
    """Whether it was in the state `before`."""
    columns = PARTITIONS.c
    changed = connection.execute(
        sa.update(PARTITIONS)
        .where(columns.number == partition.number, columns.state == before.value)
        .values(state=after.value)
    )
    return changed.rowcount == 1


def insert(connection: sa.Connection, partition: Partition, tenant: str, entries: Sequence[Entry]) -> int:
    """Those that the partition has not. Returns how many."""
    into = f"INSERT INTO {partition.table} (tenant, {_COLUMNS})"
    # In order: two processes that insert the same entries must not wait for each other.
    rows = [(tenant, *_row(entry)) for entry in sorted(entries, key=lambda entry: (entry.kind.value, entry.id))]
    if connection.dialect.name != "postgresql":
        statement = f"{into} VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        return max(connection.exec_driver_sql(statement, rows).rowcount, 0)
    types = ("text", "text", "text", "bigint", "text", "text", "bytea")
    arrays = ", ".join(f"%s::{name}[]" for name in types)
    statement = f"{into} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"
    return connection.exec_driver_sql(statement, tuple(map(_array, zip(*rows, strict=True)))).rowcount


def count(connection: sa.Connection, partition: Partition, more: int) -> None:
    columns = PARTITIONS.c
    connection.execute(
        sa.update(PARTITIONS).where(columns.number == partition.number).values(entries=columns.entries + more)
    )


def drop(connection: sa.Connection, partition: Partition) -> None:
    """Of an archived partition; nobody reads it any more."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {partition.table}")
    set_state(connection, partition, PartitionState.ARCHIVED, PartitionState.DROPPED)


def entries_in(
    connection: sa.Connection, partition: Partition, tenant: str, only: EntryFilter, after: Place | None, limit: int
) -> list[Entry]:
    """By place, the greatest first."""
    given: dict[str, object] = {"tenant": tenant, "rows": limit}
    conditions = ["tenant = :tenant"]

    def require(condition: str, **values: object) -> None:
        conditions.append(condition)
        given.update(values)

    if only.kind is not None:
        require("kind = :kind", kind=only.kind.value)
    if only.subject_id:
        require("subject_id = :subject", subject=only.subject_id)
    if only.request_id:
        require("request_id = :request", request=only.request_id)
    if only.from_us is not None:
        require("recorded_us >= :from", **{"from": only.from_us})
    if only.until_us is not None:
        require("recorded_us < :until", until=only.until_us)
    if after is not None:
        place = {"after_us": after.recorded_us, "after_kind": after.kind, "after_id": after.id}
        require("(recorded_us, kind, id) < (:after_us, :after_kind, :after_id)", **place)
    query = f"SELECT {_COLUMNS} FROM {partition.table} WHERE {' AND '.join(conditions)}"
    query += " ORDER BY recorded_us DESC, kind DESC, id DESC LIMIT :rows"
    return [_entry(row) for row in connection.execute(sa.text(query), given)]


def entry_in(connection: sa.Connection, partition: Partition, tenant: str, kind: EntryKind, id: str) -> Entry | None:
    query = f"SELECT {_COLUMNS} FROM {partition.table} WHERE tenant = :tenant AND kind = :kind AND id = :id"
    row = connection.execute(sa.text(query), {"tenant": tenant, "kind": kind.value, "id": id}).one_or_none()
    return None if row is None else _entry(row)


def present_in(
    connection: sa.Connection, partition: Partition, tenant: str, entries: Iterable[Entry]
) -> set[tuple[EntryKind, str]]:
    """Which of the entries the partition has, by kind and id."""
    by_kind: dict[EntryKind, list[str]] = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(entry.id)
    query = sa.text(f"SELECT id FROM {partition.table} WHERE tenant = :tenant AND kind = :kind AND id IN :ids")
    query = query.bindparams(sa.bindparam("ids", expanding=True))
    return {
        (kind, id)
        for kind, ids in by_kind.items()
        for id in connection.execute(query, {"tenant": tenant, "kind": kind.value, "ids": ids}).scalars()
    }


def counts_of(connection: sa.Connection, partition: Partition) -> dict[EntryKind, int]:
    rows = connection.execute(sa.text(f"SELECT kind, COUNT(*) FROM {partition.table} GROUP BY kind ORDER BY kind"))
    return {EntryKind(kind): number for kind, number in rows}


def keys_after(
    connection: sa.Connection, partition: Partition, key: tuple[str, str, str], limit: int
) -> list[tuple[str, str, str]]:
    """(tenant, kind, id) of entries, in order, from the first one after `key`."""
    query = f"SELECT tenant, kind, id FROM {partition.table} WHERE (tenant, kind, id) > (:tenant, :kind, :id)"
    query += " ORDER BY tenant, kind, id LIMIT :rows"
    given = dict(zip(("tenant", "kind", "id"), key, strict=True)) | {"rows": limit}
    return [(row.tenant, row.kind, row.id) for row in connection.execute(sa.text(query), given)]


def rows_after(
    connection: sa.Connection, partition: Partition, kind: EntryKind, key: tuple[str, int, str], limit: int
) -> list[tuple[str, Entry]]:
    """(tenant, entry), by tenant, time and id, from the first one after `key`, which has these three."""
    query = f"SELECT {_COLUMNS}, tenant FROM {partition.table}"
    query += " WHERE kind = :kind AND (tenant, recorded_us, id) > (:tenant, :recorded_us, :id)"
    query += " ORDER BY tenant, recorded_us, id LIMIT :rows"
    given = dict(zip(("tenant", "recorded_us", "id"), key, strict=True)) | {"kind": kind.value, "rows": limit}
    return [(row.tenant, _entry(row)) for row in connection.execute(sa.text(query), given)]


def _array(values: Sequence[str | int | bytes]) -> str:
    """PostgreSQL's form of an array. The driver's own takes 15 times as long, which is a quarter of a call."""
    return f"{{{','.join(map(_quoted, values))}}}"


def _quoted(value: str | int | bytes) -> str:
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _row(entry: Entry) -> tuple[str, str, int, str, str, bytes]:
    return entry.kind.value, entry.id, entry.recorded_us, entry.subject_id, entry.request_id, entry.content


def _entry(row: Any) -> Entry:
    kind = EntryKind(row.kind)
    return Entry(kind, row.id, row.recorded_us, row.subject_id, row.request_id, bytes(row.content))
