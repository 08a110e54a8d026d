"""Profiles in Redis as a file: each key as Redis itself writes it (DUMP), for any later Redis to take (RESTORE).

Nothing but a connection is needed, neither the server's disk nor a restart. Writes are held back meanwhile, so that all
keys are of one moment; an event is recorded under several. Raises Failed for a key that RESTORE would refuse.
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
from services.ranker.adapters.redis_client import EXPIRING, LAYOUT_KEY

# All keys of the ranker's stores: services/ranker/adapters/redis_store.py.
PATTERN = "kairos:*"
# Keys of one round trip.
_BATCH = 500
# Redis lets writers go on by itself after this, also where this process dies.
PAUSE_S = 30.0
# proto-max-bulk-len, unless it was changed: a log of some two million events.
_LARGEST = 512 << 20


def dump(client: redis.Redis, file: Path, pause_s: float = PAUSE_S) -> bool:
    """Whether all of it is of one moment: a large store takes longer than writers may be held back."""
    connection: Any = client
    with _writers_held_back(connection, pause_s) as until_s, gzip.open(file, "wt", compresslevel=1) as lines:
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
                    raise Failed(f"{key!r} takes {len(value):,} bytes, more than Redis takes back; copy its RDB file")
                entry = {"key": _text(key), "value": _text(value), "expires_ms": now_ms + left_ms if left_ms > 0 else 0}
                lines.write(json.dumps(entry) + "\n")
        return time.monotonic() < until_s


def restore(client: redis.Redis, file: Path) -> None:
    """In the place of all that is there. What has expired meanwhile stays away."""
    connection: Any = client
    for keys in batches(connection.scan_iter(PATTERN, count=_BATCH), _BATCH):
        connection.unlink(*keys)
    with gzip.open(file, "rt") as lines:
        for entries in batches(map(json.loads, lines), _BATCH):
            pipeline = connection.pipeline(transaction=False)
            for entry in entries:
                # A time that has passed makes Redis drop the key at once.
                pipeline.restore(
                    _bytes(entry["key"]), entry["expires_ms"], _bytes(entry["value"]),
                    replace=True, absttl=bool(entry["expires_ms"]),
                )  # fmt: skip
            pipeline.execute()


def is_occupied(client: redis.Redis) -> bool:
    connection: Any = client
    keys = (key for key in connection.scan_iter(PATTERN, count=_BATCH) if key != LAYOUT_KEY.encode())
    return any(islice(keys, 1))


@contextmanager
def _writers_held_back(connection: Any, pause_s: float) -> Iterator[float]:
    """Gives the moment (monotonic, seconds) until which nobody writes; reading goes on."""
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
