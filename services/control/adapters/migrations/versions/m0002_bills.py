"""Bills of campaigns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _name(length: int) -> sa.types.TypeEngine[str]:
    """Sorted by code points in every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bills",
        sa.Column("tenant", _name(63), primary_key=True),
        sa.Column("campaign_id", _name(63), primary_key=True),
        # ISO 8601, in the time zone of the campaign.
        sa.Column("day", _name(10), primary_key=True),
        # Amounts are in minor units of it.
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("impressions", sa.BigInteger, nullable=False),
        sa.Column("clicks", sa.BigInteger, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("sales", sa.BigInteger, nullable=False),
        sa.Column("same_brand_sales", sa.BigInteger, nullable=False),
        # JSON: clicks by reason.
        sa.Column("refused", sa.Text, nullable=False),
        sa.Column("is_final", sa.Boolean, nullable=False),
    )
    op.create_index("bills_by_day", "bills", ["tenant", "day"])
