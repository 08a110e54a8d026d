"""Saves the suite's keys of Redis to a file, each in the form of DUMP, which RESTORE of the same or a later Redis
reads.

It needs only a connection, neither the disk of the server nor a restart. Writes are paused meanwhile, so that all keys
are of one moment: an event changes several keys. Raises Failed for a key that RESTORE would refuse.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from ops.backup.batches import batches
from ops.backup.files import Failed
from services.ranker.adapters.redis_client import EXPIRING, LAYOUT_KEY, TOKEN_KEY

# All keys of the ranker's stores: services/ranker/adapters/redis_store.py.
PATTERN = "kairos:*"
# Keys of one call.
_BATCH = 500
# Seconds after which Redis ends the pause of writes by itself, also if this process crashes.
PAUSE_S = 30.0
# Redis' default for proto-max-bulk-len: an event log of about two million events.
_LARGEST = 512 << 20


def dump(client: redis.Redis, file: Path, pause_s: float = PAUSE_S) -> bool:
    """Returns whether all keys are of one moment. Saving a large store takes longer than the pause of writes."""
    connection: Any = client
    with _writes_paused(connection, pause_s) as until_s, gzip.open(file, "wt", compresslevel=1) as lines:
        for keys in batches(connection.scan_iter(PATTERN, count=_BATCH), _BATCH):
            pipeline = connection.pipeline(transaction=False)
            for key in keys:
                pipeline.dump(key)
                pipeline.pttl(key)
            answers = iter(pipeline.execute())
            now_ms = int(time.time() * 1000)
            for key, value, left_ms in zip(keys, answers, answers, strict=True):
                if value is None or EXPIRING.encode() in key:  # it has expired since it was listed, or will soon
                    continue
                if len(value) > _LARGEST:
                    raise Failed(f"{key!r} has {len(value):,} bytes, more than Redis can restore; copy its RDB file")
                entry = {"key": _text(key), "value": _text(value), "expires_ms": now_ms + left_ms if left_ms > 0 else 0}
                lines.write(json.dumps(entry) + "\n")
        return time.monotonic() < until_s


def restore(client: redis.Redis, file: Path) -> None:
    """Replaces all keys of the suite. Keys that have expired meanwhile are not restored."""
    connection: Any = client
    for keys in batches(connection.scan_iter(PATTERN, count=_BATCH), _BATCH):
        connection.unlink(*keys)
    with gzip.open(file, "rt") as lines:
        for entries in batches(map(json.loads, lines), _BATCH):
            pipeline = connection.pipeline(transaction=False)
            for entry in entries:
                # Redis removes a key at once if its time has passed.
                pipeline.restore(
                    _bytes(entry["key"]), entry["expires_ms"], _bytes(entry["value"]),
                    replace=True, absttl=bool(entry["expires_ms"]),
                )  # fmt: skip
            pipeline.execute()


def is_occupied(client: redis.Redis) -> bool:
    connection: Any = client
    # Every suite writes these two at its first start.
    keys = (key for key in connection.scan_iter(PATTERN, count=_BATCH) if key.decode() not in (LAYOUT_KEY, TOKEN_KEY))
    return any(islice(keys, 1))


@contextmanager
def _writes_paused(connection: Any, pause_s: float) -> Iterator[float]:
    """Pauses writes and gives the time (monotonic clock, seconds) until which they are paused. Reads continue."""
    until_s = time.monotonic() + pause_s
    connection.client_pause(int(pause_s * 1000), all=False)
    try:
        yield until_s
    finally:
        connection.client_unpause()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
