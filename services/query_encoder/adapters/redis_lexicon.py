"""Lexicons in Redis, for replicas on several machines.

The keys begin with kairos:{tenant}:lexicon:. `version` is a number. `words` and `phrases` are hashes from text to
count; `brands`, `colours` and `categories` are hashes from normal form to name.
"""

from __future__ import annotations

from typing import Any

import redis

from services.common.redis_errors import redis_errors
from services.query_encoder.domain.lexicon import Lexicon, LexiconUpdate

_COUNTED = ("words", "phrases")
_NAMED = ("brands", "colours", "categories")
# Least count that is read. Most phrases occur in one title only and are not useful: they stay in Redis.
_MIN_COUNT = {"words": 1, "phrases": 2}
# Fields that one HSCAN returns: reading a large hash does not block the other clients of Redis.
_SCAN_COUNT = 5_000
_WHOSE = "the lexicon's Redis"


class RedisLexiconStore:
    """An update is one transaction: counts and version change at the same time."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        with redis_errors(_WHOSE):
            # The version is read first. An update that comes meanwhile has a later one, so that it is read next time.
            version = int(self._redis.get(_key(tenant, "version")) or 0)
            if known is not None and known.version == version:
                return known
            lexicon = Lexicon(version=version)
            for name in _COUNTED:
                counts = {text: int(count) for text, count in self._fields(tenant, name)}
                getattr(lexicon, name).update(
                    {text: count for text, count in counts.items() if count >= _MIN_COUNT[name]}
                )
            for name in _NAMED:
                getattr(lexicon, name).update({normal: value.decode() for normal, value in self._fields(tenant, name)})
            return lexicon

    def add(self, tenant: str, update: LexiconUpdate) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for name in _COUNTED:
            for text, count in getattr(update, name).items():
                pipeline.hincrby(_key(tenant, name), text, count)
        for name in _NAMED:
            if names := getattr(update, name):
                pipeline.hset(_key(tenant, name), mapping=names)
        pipeline.incr(_key(tenant, "version"))
        with redis_errors(_WHOSE):
            pipeline.execute()

    def close(self) -> None:
        self._redis.close()

    def _fields(self, tenant: str, name: str) -> list[tuple[str, bytes]]:
        return [
            (field.decode(), value) for field, value in self._redis.hscan_iter(_key(tenant, name), count=_SCAN_COUNT)
        ]


def _key(tenant: str, name: str) -> str:
    # The braces make Redis Cluster keep all keys of a tenant on one node.
    return f"kairos:{{{tenant}}}:lexicon:{name}"
