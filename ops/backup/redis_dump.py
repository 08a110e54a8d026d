"""Saves the suite's keys of Redis to a file. Small keys are in the form of DUMP, which RESTORE of the same or a later
Redis reads; the entries of large ones are read and written in parts.

It needs only a connection, neither the disk of the server nor a restart. Writes are paused meanwhile, so that all keys
are of one moment: an event changes several keys. Neither Redis nor this process ever holds a large key twice.
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
from services.ranker.adapters.redis_client import EXPIRING, LAYOUT_KEY, TOKEN_KEY

# All keys of the ranker's stores: services/ranker/adapters/redis_store.py.
PATTERN = "kairos:*"
# Keys of one call.
_BATCH = 500
# Entries of one part. An entry of a stream has some kilobytes.
_PART = 500
# Seconds after which Redis ends the pause of writes by itself, also if this process crashes.
PAUSE_S = 30.0


def dump(client: redis.Redis, file: Path, pause_s: float = PAUSE_S) -> bool:
    """Returns whether all keys are of one moment. Saving a large store takes longer than the pause of writes."""
    connection: Any = client
    with _writes_paused(connection, pause_s) as until_s, gzip.open(file, "wt", compresslevel=1) as lines:
        written: set[bytes] = set()
        for keys in batches(connection.scan_iter(PATTERN, count=_BATCH), _BATCH):
            # A scan may name a key twice: its parts must not be there twice.
            large = {key: kind for key, kind in _large(connection, keys).items() if key not in written}
            written |= large.keys()
            for entry in _small_keys(connection, [key for key in keys if key not in written]):
                lines.write(json.dumps(entry) + "\n")
            for key, kind in large.items():
                for part in _parts(connection, key, kind):
                    lines.write(json.dumps({"key": _text(key), "kind": kind, **part}) + "\n")
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
                if "kind" in entry:
                    # Each part is large: it goes alone.
                    pipeline.execute()
                    _restore_part(connection, entry)
                    continue
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


def _small_keys(connection: Any, keys: list[bytes]) -> Iterator[dict[str, object]]:
    pipeline = connection.pipeline(transaction=False)
    for key in keys:
        pipeline.dump(key)
        pipeline.pttl(key)
    answers = iter(pipeline.execute())
    now_ms = int(time.time() * 1000)
    for key, value, left_ms in zip(keys, answers, answers, strict=True):
        if value is None or EXPIRING.encode() in key:  # it has expired since it was listed, or will soon
            continue
        yield {"key": _text(key), "value": _text(value), "expires_ms": now_ms + left_ms if left_ms > 0 else 0}


def _large(connection: Any, keys: list[bytes]) -> dict[bytes, str]:
    """The kinds of the keys with many entries. None of them expires."""
    pipeline = connection.pipeline(transaction=False)
    for key in keys:
        pipeline.type(key)
    kinds = {key: kind.decode() for key, kind in zip(keys, pipeline.execute(), strict=True)}
    counted = {"stream": "xlen", "zset": "zcard", "hash": "hlen", "set": "scard"}
    candidates = [key for key in keys if kinds[key] in counted]
    for key in candidates:
        getattr(pipeline, counted[kinds[key]])(key)
    sizes = zip(candidates, pipeline.execute(), strict=True)
    return {key: kinds[key] for key, size in sizes if size > _PART}


def _parts(connection: Any, key: bytes, kind: str) -> Iterator[dict[str, object]]:
    """`entries`: lists of texts; of a stream also the last id that it gave."""
    if kind == "stream":
        start = b"-"
        while found := connection.xrange(key, start, "+", count=_PART):
            yield {"entries": [[id.decode(), *map(_text, _flat(fields))] for id, fields in found]}
            start = b"(" + found[-1][0]
        yield {"entries": [], "last_id": connection.xinfo_stream(key)["last-generated-id"].decode()}
        return
    scan = {"zset": connection.zscan_iter, "hash": connection.hscan_iter, "set": connection.sscan_iter}[kind]
    for found in batches(scan(key, count=_PART), _PART):
        if kind == "zset":
            yield {"entries": [[repr(score), _text(member)] for member, score in found]}
        elif kind == "hash":
            yield {"entries": [[_text(field), _text(value)] for field, value in found]}
        else:
            yield {"entries": [[_text(member)] for member in found]}


def _restore_part(connection: Any, part: dict[str, Any]) -> None:
    """A scan may give an entry twice: adding it again changes nothing."""
    key, pipeline = _bytes(part["key"]), connection.pipeline(transaction=False)
    for entry in part["entries"]:
        if part["kind"] == "stream":
            id, *fields = entry
            pipeline.execute_command("XADD", key, id, *map(_bytes, fields))
        elif part["kind"] == "zset":
            pipeline.execute_command("ZADD", key, entry[0], _bytes(entry[1]))
        elif part["kind"] == "hash":
            pipeline.hset(key, *map(_bytes, entry))
        else:
            pipeline.sadd(key, _bytes(entry[0]))
    if "last_id" in part:
        pipeline.execute_command("XSETID", key, part["last_id"])
    pipeline.execute()


def _flat(fields: dict[bytes, bytes]) -> Iterator[bytes]:
    for name, value in fields.items():
        yield name
        yield value


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
