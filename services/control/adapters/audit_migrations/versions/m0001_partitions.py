"""The list of the partitions of the audit, and the ids of archived entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Raised by the triggers of each partition.
_FINAL = """
CREATE FUNCTION audit_entries_are_final() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'an audit entry is never changed or removed'; END $$
"""
_CLOSED = """
CREATE FUNCTION audit_partition_is_closed() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'this partition of the audit is closed'; END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_partitions",
        # Never given twice: it names the table of the entries.
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(always=True), primary_key=True
        ),
        # Times are in microseconds since the epoch. The entries of the hour that begins then.
        sa.Column("period_us", sa.BigInteger, nullable=False, index=True),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        # See audit_partitions.PartitionState.
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_archived_ids",
        # Of the partition, and the first of the digests.
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("first", sa.LargeBinary, primary_key=True),
        # One after the other, in order.
        sa.Column("digests", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FINAL)
        op.execute(_CLOSED)
