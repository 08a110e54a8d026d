"""Lexicons in Redis, for replicas on several machines.

Keys, all below kairos:{tenant}:lexicon: `version` is a number; `words` and `phrases` are hashes from text to count,
`brands`, `colours` and `categories` from normal form to name.
"""

from __future__ import annotations

from typing import Any

import redis

from services.common.errors import Unavailable
from services.query_encoder.domain.lexicon import Lexicon, LexiconUpdate

_COUNTED = ("words", "phrases")
_NAMED = ("brands", "colours", "categories")
# Most phrases stand in one title and tell nothing: they stay in Redis.
_LEAST = {"words": 1, "phrases": 2}
# Fields that one HSCAN brings: a large hash does not hold up Redis' other callers.
_SCANNED = 5_000


class RedisLexiconStore:
    """An update is one transaction: its counts and the version that tells of them come together."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        try:
            # Read first: what is added meanwhile has a later version, and is read again for it.
            version = int(self._redis.get(_key(tenant, "version")) or 0)
            if known is not None and known.version == version:
                return known
            lexicon = Lexicon(version=version)
            for name in _COUNTED:
                counts = {text: int(count) for text, count in self._fields(tenant, name)}
                getattr(lexicon, name).update({text: count for text, count in counts.items() if count >= _LEAST[name]})
            for name in _NAMED:
                getattr(lexicon, name).update({normal: value.decode() for normal, value in self._fields(tenant, name)})
            return lexicon
        except redis.ConnectionError as error:
            raise Unavailable(f"the lexicon's Redis cannot be reached: {error}") from error

    def add(self, tenant: str, update: LexiconUpdate) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for name in _COUNTED:
            for text, count in getattr(update, name).items():
                pipeline.hincrby(_key(tenant, name), text, count)
        for name in _NAMED:
            if names := getattr(update, name):
                pipeline.hset(_key(tenant, name), mapping=names)
        pipeline.incr(_key(tenant, "version"))
        try:
            pipeline.execute()
        except redis.ConnectionError as error:
            raise Unavailable(f"the lexicon's Redis cannot be reached: {error}") from error

    def close(self) -> None:
        self._redis.close()

    def _fields(self, tenant: str, name: str) -> list[tuple[str, bytes]]:
        return [(field.decode(), value) for field, value in self._redis.hscan_iter(_key(tenant, name), count=_SCANNED)]


def _key(tenant: str, name: str) -> str:
    # Braces: all of a tenant's keys lie on one node of a Redis Cluster.
    return f"kairos:{{{tenant}}}:lexicon:{name}"
