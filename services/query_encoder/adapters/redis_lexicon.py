"""Lexicons in Redis, for replicas on several machines.

The keys begin with kairos:{tenant}:lexicon:. `version` is a number, `kinds` the set of the kinds of terms.
`count:{kind}` is a sorted set: the score of a text is the number of its products. `products` is a
hash from the id of a product to the record of what was learned from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import redis
import structlog

from services.common.redis_errors import redis_errors
from services.query_encoder.adapters.lexicon_records import REMEDY, record_of, terms_in, words_in
from services.query_encoder.domain.lexicon import (
    SEQUENCES,
    Lexicon,
    Terms,
    change_of,
    is_read,
)

# Members that one scan returns: reading a large set does not block the other clients of Redis.
_SCAN_COUNT = 5_000
_WHOSE = "the lexicon's Redis"
_log = structlog.get_logger("kairos.lexicon")


class RedisLexiconStore:
    """An update is one transaction: counts, records and version change at the same time. It starts again if another
    update came between its reading and its writing.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._checked = set[str]()

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        with redis_errors(_WHOSE):
            # The version is read first. An update that comes meanwhile has a later one, so that it is read next time.
            version = int(self._redis.get(_key(tenant, "version")) or 0)
            if known is not None and known.version == version:
                return known
            self._warn_of_earlier(tenant)
            kinds = [kind.decode() for kind in self._redis.smembers(_key(tenant, "kinds"))]
            return Lexicon.counted({kind: self._counts(tenant, kind) for kind in kinds}, version)

    def put(self, tenant: str, products: Mapping[str, Terms]) -> None:
        new = {id: record_of(terms) for id, terms in products.items()}
        records, version = _key(tenant, "products"), _key(tenant, "version")

        def write(pipeline: Any) -> None:
            old = {id: record or b"" for id, record in zip(new, pipeline.hmget(records, list(new)), strict=True)}
            pipeline.multi()
            changed = [id for id in new if new[id] != old[id]]
            if not changed:
                return
            change = change_of((terms_in(old[id]) for id in changed), (products[id] for id in changed))
            for (kind, text), more in change.items():
                pipeline.zincrby(_key(tenant, f"count:{kind}"), more, text)
            for kind in {kind for kind, _ in change}:
                pipeline.sadd(_key(tenant, "kinds"), kind)
                pipeline.zremrangebyscore(_key(tenant, f"count:{kind}"), "-inf", 0)
            for id in changed:
                pipeline.hset(records, id, new[id]) if new[id] else pipeline.hdel(records, id)
            pipeline.incr(version)

        if new:
            with redis_errors(_WHOSE):
                self._redis.transaction(write, version)

    def words_of_products(self, tenant: str) -> Iterator[list[str]]:
        with redis_errors(_WHOSE):
            for _, record in self._redis.hscan_iter(_key(tenant, "products"), count=_SCAN_COUNT // 10):
                yield words_in(record)

    def close(self) -> None:
        self._redis.close()

    def _warn_of_earlier(self, tenant: str) -> None:
        """Keys of the earlier layout did not know the products, so that nothing could be forgotten: none is read."""
        if tenant not in self._checked and self._redis.exists(earlier := _key(tenant, "words")):
            _log.warning("words of an earlier layout are not read", key=earlier, remedy=REMEDY)
        self._checked.add(tenant)

    def _counts(self, tenant: str, kind: str) -> dict[str, int]:
        """Of phrases those that `is_read` says."""
        found = self._redis.zscan_iter(_key(tenant, f"count:{kind}"), count=_SCAN_COUNT)
        counts = ((text.decode(), int(count)) for text, count in found)
        if kind not in SEQUENCES:
            return dict(counts)
        return {text: count for text, count in counts if is_read(text, count)}


def _key(tenant: str, name: str) -> str:
    # The braces make Redis Cluster keep all keys of a tenant on one node.
    return f"kairos:{{{tenant}}}:lexicon:{name}"
