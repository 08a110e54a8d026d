"""Lexicons in Redis, for replicas on several machines.

The keys begin with kairos:{tenant}:lexicon:. `version` is a number. The fields of lexicon.COUNTED are hashes from text
to count; `brands` and `categories` are hashes from normal form to name. `attributes` is the set of attributes, and
`values:{attribute}` a hash from normal form to value. Earlier versions wrote the hash `colours` instead; it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from services.common.redis_errors import redis_errors
from services.query_encoder.domain.lexicon import (
    COUNTED,
    MAX_ATTRIBUTES,
    MAX_VALUES,
    Lexicon,
    LexiconUpdate,
    is_evidence,
)

_NAMED = ("brands", "categories")
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
            for name in _NAMED:
                getattr(lexicon, name).update(self._texts(tenant, name))
            if colours := self._texts(tenant, "colours"):
                lexicon.values["colour"] = colours
            for attribute in sorted(self._attributes(tenant)):
                lexicon.values.setdefault(attribute, {}).update(self._texts(tenant, f"values:{attribute}"))
            labels = {name for names in (lexicon.brands, *lexicon.values.values()) for name in names}
            for name in COUNTED:
                counts = {text: int(count) for text, count in self._fields(tenant, name)}
                if name == "phrases":
                    # Most phrases occur in one title only and are not useful: they stay in Redis.
                    counts = {text: count for text, count in counts.items() if count > 1 or is_evidence(text, labels)}
                getattr(lexicon, name).update(counts)
            return lexicon

    def add(self, tenant: str, update: LexiconUpdate) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for name in COUNTED:
            for text, count in getattr(update, name).items():
                pipeline.hincrby(_key(tenant, name), text, count)
        for name in _NAMED:
            if names := getattr(update, name):
                pipeline.hset(_key(tenant, name), mapping=names)
        with redis_errors(_WHOSE):
            for attribute, values in self._values(tenant, update):
                pipeline.sadd(_key(tenant, "attributes"), attribute)
                pipeline.hset(_key(tenant, f"values:{attribute}"), mapping=values)
            pipeline.incr(_key(tenant, "version"))
            pipeline.execute()

    def close(self) -> None:
        self._redis.close()

    def _values(self, tenant: str, update: LexiconUpdate) -> Iterator[tuple[str, dict[str, str]]]:
        """The values that still have room, by attribute. Replicas that add at the same time may go beyond it once."""
        known = self._attributes(tenant)
        for attribute, values in update.values.items():
            if attribute in known or len(known) < MAX_ATTRIBUTES:
                known.add(attribute)
                room = MAX_VALUES - int(self._redis.hlen(_key(tenant, f"values:{attribute}")))
                if kept := dict(list(values.items())[: max(room, 0)]):
                    yield attribute, kept

    def _attributes(self, tenant: str) -> set[str]:
        return {name.decode() for name in self._redis.smembers(_key(tenant, "attributes"))}

    def _texts(self, tenant: str, name: str) -> dict[str, str]:
        return {normal: value.decode() for normal, value in self._fields(tenant, name)}

    def _fields(self, tenant: str, name: str) -> list[tuple[str, bytes]]:
        return [
            (field.decode(), value) for field, value in self._redis.hscan_iter(_key(tenant, name), count=_SCAN_COUNT)
        ]


def _key(tenant: str, name: str) -> str:
    # The braces make Redis Cluster keep all keys of a tenant on one node.
    return f"kairos:{{{tenant}}}:lexicon:{name}"
