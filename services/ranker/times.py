"""Moments as the domain counts them and as Protobuf writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    """Of seconds since the epoch."""
    return _EPOCH + timedelta(seconds=seconds)
