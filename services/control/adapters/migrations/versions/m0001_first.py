"""Resources, revisions, snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _name(length: int) -> sa.types.TypeEngine[str]:
    """Sorted by code points in every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant", _name(63), primary_key=True),
        # Of the newest snapshot; 0: there is none.
        sa.Column("snapshot_version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "resources",
        sa.Column("tenant", _name(63), primary_key=True),
        sa.Column("kind", _name(32), primary_key=True),
        sa.Column("id", _name(63), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        # JSON, as the columns before, after and effective_content.
        sa.Column("content", sa.Text, nullable=False),
        # Id and content in lower case, for searches.
        sa.Column("searched", sa.Text, nullable=False),
        sa.Column("effective_content", sa.Text),
        sa.Column("effective_version", sa.BigInteger),
        # Times are in microseconds since the epoch.
        sa.Column("published_us", sa.BigInteger),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(128), nullable=False),
    )
    op.create_table(
        "revisions",
        sa.Column("tenant", _name(63), primary_key=True),
        sa.Column("kind", _name(32), primary_key=True),
        sa.Column("id", _name(63), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(128), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("snapshot_version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("tenant", _name(63), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("published_us", sa.BigInteger, nullable=False),
        # JSON, compressed with zlib.
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
