"""Leases of budgets, and the traffic of sponsored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _name(length: int) -> sa.types.TypeEngine[str]:
    """Sorted by code points in every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bill_times",
        sa.Column("tenant", _name(63), primary_key=True),
        # Microseconds since the epoch: every click up to then is on a bill.
        sa.Column("complete_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("tenant", _name(63), primary_key=True),
        sa.Column("campaign_id", _name(63), primary_key=True),
        # JSON: see domain.leases.LeasePool.
        sa.Column("pool", sa.Text, nullable=False),
        # Microseconds since the epoch.
        sa.Column("renewed_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ad_traffic",
        sa.Column("tenant", _name(63), primary_key=True),
        # Five minutes each, since the epoch.
        sa.Column("interval", sa.BigInteger, primary_key=True),
        # JSON: requests by replica.
        sa.Column("requests", sa.Text, nullable=False),
    )
