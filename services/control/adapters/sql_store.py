"""The store over SQLAlchemy: SQLite in one file, or PostgreSQL."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.control.adapters.database import Database
from services.control.adapters.schema import RESOURCES, REVISIONS, SNAPSHOTS, TENANTS, migrate_resources
from services.control.domain.changes import Changes, TenantView
from services.control.domain.resources import (
    Action,
    Content,
    Effective,
    Key,
    Kind,
    Resource,
    Revision,
    Snapshot,
    State,
    as_json,
)
from services.control.ports import Listing, Retention


class SqlControlStore:
    """See ports.ControlStore. `url` is SQLAlchemy's: sqlite:///folder/control.db, or postgresql+psycopg://user@host/name.

    Migrates the tables. Raises Conflict if a newer version of Kairos has made them, and Unavailable.
    """

    def __init__(self, url: str, retention: Retention | None = None) -> None:
        self._retention = retention or Retention()
        self._database = Database(url)
        with self._database.transaction(writes=True) as connection:
            migrate_resources(connection)

    def change(self, tenant: str, decide: Callable[[TenantView], Changes]) -> Changes:
        with self._database.transaction(writes=True) as connection:
            view = _View(connection, tenant)
            changes = decide(view)
            self._write(connection, tenant, changes)
        return changes

    def resource(self, tenant: str, key: Key) -> Resource | None:
        with self._database.transaction() as connection:
            return _resource(connection, tenant, key)

    def resources(self, tenant: str, listing: Listing, after: Key | None, limit: int) -> list[Resource]:
        columns = RESOURCES.c
        query = sa.select(RESOURCES).where(columns.tenant == tenant)
        if listing.kind:
            query = query.where(columns.kind == listing.kind)
        if listing.state is None:
            query = query.where(columns.state != State.ARCHIVED.value)
        else:
            query = query.where(columns.state == listing.state.value)
        if listing.text:
            query = query.where(columns.searched.contains(listing.text.casefold(), autoescape=True))
        if after is not None:
            query = query.where(sa.tuple_(columns.kind, columns.id) > sa.tuple_(after.kind, after.id))
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(columns.kind, columns.id).limit(limit))
            return [_resource_of(row) for row in rows]

    def revisions(self, tenant: str, key: Key, before: int | None, limit: int) -> list[Revision]:
        query = sa.select(REVISIONS).where(*_is(REVISIONS, tenant, key))
        if before is not None:
            query = query.where(REVISIONS.c.version < before)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(REVISIONS.c.version.desc()).limit(limit))
            return [_revision_of(row) for row in rows]

    def versions(self) -> Mapping[str, int]:
        query = sa.select(TENANTS.c.tenant, TENANTS.c.snapshot_version).where(TENANTS.c.snapshot_version > 0)
        with self._database.transaction() as connection:
            return {row.tenant: row.snapshot_version for row in connection.execute(query)}

    def snapshot(self, tenant: str) -> Snapshot | None:
        columns = SNAPSHOTS.c
        query = sa.select(SNAPSHOTS).where(columns.tenant == tenant).order_by(columns.version.desc()).limit(1)
        with self._database.transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _snapshot_of(row)

    def tenants(self) -> Mapping[str, Content]:
        with self._database.transaction() as connection:
            return _tenants(connection)

    def close(self) -> None:
        self._database.close()

    def _write(self, connection: sa.Connection, tenant: str, changes: Changes) -> None:
        if not changes.revisions:
            return
        changed = {revision.key for revision in changes.revisions}
        rows = [_row_of(tenant, resource) for resource in changes.resources if resource.key in changed]
        for row in rows:
            where = _is(RESOURCES, tenant, Key(row["kind"], row["id"]))
            connection.execute(sa.delete(RESOURCES).where(*where))
        connection.execute(sa.insert(RESOURCES), rows)
        connection.execute(sa.insert(REVISIONS), [_revision_row(tenant, one) for one in changes.revisions])
        for revision in changes.revisions:
            oldest = revision.version - self._retention.revisions
            connection.execute(
                sa.delete(REVISIONS).where(*_is(REVISIONS, tenant, revision.key), REVISIONS.c.version <= oldest)
            )
        if any(revision.action is Action.ARCHIVED for revision in changes.revisions):
            self._remove_archived(connection, tenant)
        if changes.snapshot is not None:
            self._write_snapshot(connection, changes.snapshot)

    def _write_snapshot(self, connection: sa.Connection, snapshot: Snapshot) -> None:
        tenant, columns = snapshot.tenant, SNAPSHOTS.c
        connection.execute(sa.insert(SNAPSHOTS), [_snapshot_row(snapshot)])
        connection.execute(
            sa.update(TENANTS).where(TENANTS.c.tenant == tenant).values(snapshot_version=snapshot.version)
        )
        oldest = snapshot.version - self._retention.snapshots
        connection.execute(sa.delete(SNAPSHOTS).where(columns.tenant == tenant, columns.version <= oldest))

    def _remove_archived(self, connection: sa.Connection, tenant: str) -> None:
        """The oldest archived resources beyond the retention, with their history."""
        columns = RESOURCES.c
        beyond = (
            sa.select(columns.kind, columns.id)
            .where(columns.tenant == tenant, columns.state == State.ARCHIVED.value)
            .order_by(columns.updated_us.desc(), columns.kind, columns.id)
            .offset(self._retention.archived)
            # SQLite knows no offset without a limit.
            .limit(1_000)
        )
        for kind, id in connection.execute(beyond).all():
            for table in (RESOURCES, REVISIONS):
                connection.execute(sa.delete(table).where(*_is(table, tenant, Key(kind, id))))


class _View:
    """See changes.TenantView. Holds the tenant's row until the transaction ends."""

    def __init__(self, connection: sa.Connection, tenant: str) -> None:
        self._connection, self.tenant = connection, tenant
        connection.execute(
            sa.text("INSERT INTO tenants (tenant, snapshot_version) VALUES (:tenant, 0) ON CONFLICT DO NOTHING"),
            {"tenant": tenant},
        )
        # SQLite ignores FOR UPDATE: its transaction has the only lock already.
        held = sa.select(TENANTS.c.snapshot_version).where(TENANTS.c.tenant == tenant).with_for_update()
        self.snapshot_version: int = connection.execute(held).scalar_one()

    def resource(self, key: Key) -> Resource | None:
        return _resource(self._connection, self.tenant, key)

    def effective(self) -> dict[Key, Effective]:
        columns = RESOURCES.c
        query = sa.select(RESOURCES).where(columns.tenant == self.tenant, columns.effective_version.is_not(None))
        return {Key(row.kind, row.id): _effective_of(row) for row in self._connection.execute(query)}

    def count(self, kind: str) -> int:
        columns = RESOURCES.c
        query = sa.select(sa.func.count()).where(
            columns.tenant == self.tenant, columns.kind == kind, columns.state != State.ARCHIVED.value
        )
        return int(self._connection.execute(query).scalar_one())

    def tenants(self) -> Mapping[str, Content]:
        return _tenants(self._connection)


def _is(table: sa.TableClause, tenant: str, key: Key) -> Sequence[sa.ColumnElement[bool]]:
    return table.c.tenant == tenant, table.c.kind == key.kind, table.c.id == key.id


def _resource(connection: sa.Connection, tenant: str, key: Key) -> Resource | None:
    row = connection.execute(sa.select(RESOURCES).where(*_is(RESOURCES, tenant, key))).one_or_none()
    return None if row is None else _resource_of(row)


def _tenants(connection: sa.Connection) -> Mapping[str, Content]:
    columns = RESOURCES.c
    query = sa.select(columns.tenant, columns.effective_content).where(
        columns.kind == Kind.TENANT.value, columns.effective_version.is_not(None)
    )
    return {tenant: json.loads(content) for tenant, content in connection.execute(query.order_by(columns.tenant))}


def _resource_of(row: Any) -> Resource:
    effective = None if row.effective_version is None else _effective_of(row)
    return Resource(
        Key(row.kind, row.id), row.version, State(row.state), json.loads(row.content), effective, row.created_us,
        row.updated_us, row.changed_by,
    )  # fmt: skip


def _effective_of(row: Any) -> Effective:
    return Effective(json.loads(row.effective_content), row.effective_version, row.published_us)


def _row_of(tenant: str, resource: Resource) -> dict[str, Any]:
    content, effective = as_json(resource.content), resource.effective
    return {
        "tenant": tenant,
        "kind": resource.key.kind,
        "id": resource.key.id,
        "version": resource.version,
        "state": resource.state.value,
        "content": content,
        "searched": f"{resource.key.id}\n{content}".casefold(),
        "effective_content": as_json(effective.content) if effective else None,
        "effective_version": effective.version if effective else None,
        "published_us": effective.published_us if effective else None,
        "created_us": resource.created_us,
        "updated_us": resource.updated_us,
        "changed_by": resource.changed_by,
    }


def _revision_of(row: Any) -> Revision:
    before, after = (None if text is None else json.loads(text) for text in (row.before, row.after))
    return Revision(
        Key(row.kind, row.id), row.version, Action(row.action), row.changed_us, row.changed_by, before, after,
        row.snapshot_version,
    )  # fmt: skip


def _revision_row(tenant: str, revision: Revision) -> dict[str, Any]:
    before, after = (None if each is None else as_json(each) for each in (revision.before, revision.after))
    return {
        "tenant": tenant,
        "kind": revision.key.kind,
        "id": revision.key.id,
        "version": revision.version,
        "action": revision.action.value,
        "changed_us": revision.changed_us,
        "changed_by": revision.changed_by,
        "before": before,
        "after": after,
        "snapshot_version": revision.snapshot_version,
    }


def _snapshot_row(snapshot: Snapshot) -> dict[str, Any]:
    entries = [[key.kind, key.id, each.version, each.published_us, each.content] for key, each in snapshot.resources]
    content = zlib.compress(json.dumps(entries, ensure_ascii=False).encode(), level=1)
    return {
        "tenant": snapshot.tenant,
        "version": snapshot.version,
        "published_us": snapshot.published_us,
        "content": content,
    }


def _snapshot_of(row: Any) -> Snapshot:
    resources = tuple(
        (Key(kind, id), Effective(content, version, published_us))
        for kind, id, version, published_us, content in json.loads(zlib.decompress(row.content))
    )
    return Snapshot(row.tenant, row.version, row.published_us, resources)
