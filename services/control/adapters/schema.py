"""The tables of the stores as queries name them, and the migrations that make them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from services.common.errors import Conflict

# By store: the folder of its migrations, and the table with the one that was applied last.
_RESOURCES, _AUDIT = ("migrations", "alembic_version"), ("audit_migrations", "audit_version")
# Any number that nothing else in the database locks.
_MIGRATION_LOCK = 4_711_020

TENANTS = sa.table("tenants", sa.column("tenant"), sa.column("snapshot_version"))
RESOURCES = sa.table(
    "resources",
    *map(
        sa.column,
        (
            "tenant", "kind", "id", "version", "state", "content", "searched", "effective_content",
            "effective_version", "published_us", "created_us", "updated_us", "changed_by",
        ),
    ),
)  # fmt: skip
REVISIONS = sa.table(
    "revisions",
    *map(
        sa.column,
        (
            "tenant", "kind", "id", "version", "action", "changed_us", "changed_by", "before", "after",
            "snapshot_version",
        ),
    ),
)  # fmt: skip
SNAPSHOTS = sa.table("snapshots", *map(sa.column, ("tenant", "version", "published_us", "content")))
BILLS = sa.table(
    "bills",
    *map(
        sa.column,
        (
            "tenant", "campaign_id", "day", "currency", "impressions", "clicks", "value", "amount", "sales",
            "same_brand_sales", "refused", "is_final",
        ),
    ),
)  # fmt: skip

BILL_TIMES = sa.table("bill_times", *map(sa.column, ("tenant", "complete_us")))
LEASES = sa.table("leases", *map(sa.column, ("tenant", "campaign_id", "pool", "renewed_us")))
AD_TRAFFIC = sa.table("ad_traffic", *map(sa.column, ("tenant", "interval", "requests")))

PARTITIONS = sa.table(
    "audit_partitions",
    *map(sa.column, ("number", "period_us", "opened_us", "state", "entries")),
)
ARCHIVED_IDS = sa.table("audit_archived_ids", *map(sa.column, ("number", "first", "digests")))


def migrate_resources(connection: sa.Connection) -> None:
    """See _migrate."""
    _migrate(connection, *_RESOURCES)


def migrate_audit(connection: sa.Connection) -> None:
    """See _migrate."""
    _migrate(connection, *_AUDIT)


def _migrate(connection: sa.Connection, folder: str, version_table: str) -> None:
    """Brings the tables of a store to this version of Kairos, within the connection's transaction.

    Raises Conflict if a newer version of Kairos has made them.
    """
    if connection.dialect.name == "postgresql":
        # Processes that start together migrate one after the other.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    config = Config(attributes={"connection": connection, "version_table": version_table})
    location = Path(__file__).with_name(folder)
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = MigrationContext.configure(connection, opts={"version_table": version_table}).get_current_revision()
    if present is not None and present not in known:
        raise Conflict(
            f"the database has the schema {present}, which a newer version of Kairos made; start that version, or "
            "restore a backup that this version made (docs/how-to/control.md)"
        )
    command.upgrade(config, "head")
