"""Settings of an outbox, as a group of a service's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from services.common.outbox.outbox import Outbox, OutboxBounds
from services.common.outbox.sqlite_outbox import SqliteOutbox


class OutboxSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # What waits for control at most. Beyond it the service refuses calls that it would have to put on record: nothing
    # is lost. A quote takes about 300 bytes. Redis holds it in memory.
    most_entries: int = Field(default=5_000_000, ge=1)
    most_mib: int = Field(default=1_024, ge=1)
    # Seconds between two deliveries.
    interval_s: float = Field(default=1.0, gt=0)
    # The operator vouches that Redis writes each command to its disk before it answers (appendonly yes, appendfsync
    # always) and evicts no keys: for a Redis whose configuration cannot be read.
    redis_is_durable: bool = False

    @property
    def bounds(self) -> OutboxBounds:
        return OutboxBounds(self.most_entries, self.most_mib << 20)


def build_outbox(settings: OutboxSettings, name: str, folder: Path, redis_url: str = "") -> Outbox:
    """A stream of the service `name` in Redis if there is a URL, otherwise a file in `folder`."""
    if not redis_url:
        return SqliteOutbox(folder, settings.bounds)
    # Imported here: the client is needed only with a server.
    from services.common.outbox.redis_outbox import RedisOutbox
    from services.common.redis_connection import redis_client

    return RedisOutbox(redis_client(redis_url), name, settings.bounds, settings.redis_is_durable)
