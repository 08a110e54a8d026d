"""Redis as its keeper sees it: what is beyond the bounds is removed. Several replicas may do it at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, repeat

import redis

from services.ranker.adapters import redis_scripts
from services.ranker.adapters.history_cache import HistoryCache
from services.ranker.adapters.ranking_bytes import from_bytes
from services.ranker.adapters.redis_client import tenant_prefix, unavailable_without_redis
from services.ranker.adapters.redis_consumers import RedisConsumers
from services.ranker.adapters.redis_events import event_from_json
from services.ranker.domain.event import EventType
from services.ranker.domain.popularity import FORGOTTEN_LOG_MASS, HALF_LIFE_S, log_mass
from services.ranker.domain.refunds import UNDOING
from services.ranker.domain.repurchase import day_of
from services.ranker.domain.user_history import priority
from services.ranker.ports import Fill, LogBound, Retention

# Of all tenants with a log. Not below a tenant's prefix.
_TENANTS = "kairos:tenants"
# Entries of one step: Redis serves nobody else for some 10 ms.
STEP = 500
# The same of pages and whole rankings, which are larger.
_PAGES = 100

Entry = tuple[int, dict[bytes, bytes]]


@unavailable_without_redis
class RedisRetention(RedisConsumers):
    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self._trim = client.register_script(redis_scripts.TRIM)
        self._attributes = client.register_script(redis_scripts.TRIM_ATTRIBUTES)
        self._known_tenants = set[str]()
        self._histories = HistoryCache()

    def trim(self, retention: Retention, now_s: float) -> Iterator[int]:
        # Of tenants that nobody asks for any more, persons may have been deleted by another process.
        self._histories.clear()
        for tenant in sorted(name.decode() for name in self._redis.smembers(_TENANTS)):
            yield from self._trim_events(tenant, retention.events, now_s)
            yield from self._trim_stream(tenant, "impressions", retention.impressions, now_s)
            yield from self._trim_stream(tenant, "whole_rankings", retention.whole_rankings, now_s)
            yield from self._trim_items(tenant, now_s - retention.items_s, now_s)
            yield from self._trim_attributes(tenant, retention.attributes, now_s)

    def trimmed(self, tenant: str) -> dict[str, int]:
        found = self._redis.hgetall(f"{tenant_prefix(tenant)}trimmed")
        return {log.decode(): int(position) for log, position in found.items() if log != b"until"}

    def erase(self) -> bool:
        """Nothing is left to do: the keys are gone. The append-only file shrinks with its next rewrite."""
        return True

    def fill(self) -> Fill | None:
        memory = self._redis.info("memory")
        limit = int(memory.get("maxmemory", 0))
        return Fill("memory", int(memory["used_memory"]), limit) if limit else None

    def _know(self, tenant: str) -> None:
        """Before the first write: a tenant that is not known would never be trimmed."""
        if tenant not in self._known_tenants:
            self._redis.sadd(_TENANTS, tenant)
            self._known_tenants.add(tenant)

    def _trim_events(self, tenant: str, bound: LogBound, now_s: float) -> Iterator[int]:
        prefix, until_s = tenant_prefix(tenant), now_s - bound.age_s
        over, removed = self._redis.zcard(f"{prefix}times") - bound.count, STEP
        while removed == STEP:
            oldest = self._redis.zrange(f"{prefix}times", 0, STEP - 1, withscores=True)
            gone = [(int(at), time_s) for n, (at, time_s) in enumerate(oldest) if n < over or time_s <= until_s]
            found = self._read(prefix, "events", [at for at, _ in gone])
            if gone:
                entries = [_of_event(at, fields) for at, fields in found]
                self._remove(tenant, "events", entries, max(until_s, gone[-1][1]))
                # Another replica may have removed some of the entries meanwhile: their positions go in any case.
                self._redis.zrem(f"{prefix}times", *(f"{at:012}" for at, _ in gone))
            removed, over = len(gone), over - len(gone)
            yield removed

    def _trim_stream(self, tenant: str, log: str, bound: LogBound, now_s: float) -> Iterator[int]:
        prefix, until_s = tenant_prefix(tenant), now_s - bound.age_s
        over = self._redis.xlen(f"{prefix}{log}") - bound.count
        # Mostly nothing is due, which the first entry says: a whole ranking has 65 KB.
        for step in chain([1], repeat(_PAGES)):
            gone = []
            for place, (id, fields) in enumerate(self._redis.xrange(f"{prefix}{log}", count=step)):
                entry, made_s = _of_page(int(id.split(b"-")[0]), fields)
                if place >= over and made_s > until_s:
                    break
                gone.append(entry)
            if gone:
                self._remove(tenant, log, gone, until_s)
            over -= len(gone)
            yield len(gone)
            if len(gone) < step:
                return

    def _trim_items(self, tenant: str, until_s: float, now_s: float) -> Iterator[int]:
        """Items that nothing in the logs names, with their counts; and popularity that has faded."""
        prefix, removed = tenant_prefix(tenant), STEP
        faded = FORGOTTEN_LOG_MASS + now_s / HALF_LIFE_S
        while removed == STEP:
            gone = [id.decode() for id in self._range(f"{prefix}items", until_s)]
            unpopular = self._range(f"{prefix}popularity", faded)
            if gone or unpopular:
                groups = self._redis.hmget(f"{prefix}groups", gone) if gone else []
                # Not one transaction: in MULTI a full Redis refuses removals too.
                pipeline = self._redis.pipeline(transaction=False)
                for item, group in zip(gone, groups, strict=True):
                    if group is not None:
                        pipeline.zrem(f"{prefix}variants:{group.decode()}", item)
                        pipeline.hdel(f"{prefix}groups", item)
                for item in gone:
                    pipeline.delete(f"{prefix}item:{item}")
                    pipeline.zrem(f"{prefix}items", item)
                    for name in ("buyers", "again"):
                        pipeline.hdel(f"{prefix}{name}", f"item:{item}")
                if unpopular:
                    pipeline.zrem(f"{prefix}popularity", *unpopular)
                    pipeline.delete(*(f"{prefix}variants:{key.decode()}" for key in unpopular))
                # After the removals: a history that was read between them is read again.
                pipeline.incr(f"{prefix}revision")
                pipeline.execute()
            removed = max(len(gone), len(unpopular))
            yield removed

    def _trim_attributes(self, tenant: str, count: int, now_s: float) -> Iterator[int]:
        document = json.dumps({"now_s": repr(now_s), "count": count, "step": STEP})
        removed = 1
        while removed:
            removed = int(self._attributes(keys=[tenant_prefix(tenant)], args=[document]))
            yield removed

    def _range(self, key: str, highest: float) -> list[bytes]:
        found: list[bytes] = self._redis.zrange(key, "-inf", highest, byscore=True, offset=0, num=STEP)
        return found

    def _read(self, prefix: str, log: str, positions: Sequence[int]) -> list[Entry]:
        pipeline = self._redis.pipeline(transaction=False)
        for position in positions:
            pipeline.xrange(f"{prefix}{log}", f"{position}-0", f"{position}-0")
        # Another replica may have removed some of them meanwhile.
        found = zip(positions, pipeline.execute(), strict=True)
        return [(position, entries[0][1]) for position, entries in found if entries]

    def _remove(self, tenant: str, log: str, entries: Sequence[dict[str, object]], until_s: float) -> None:
        document = {"log": log, "entries": list(entries), "until_s": repr(until_s)}
        self._trim(keys=[tenant_prefix(tenant)], args=[json.dumps(document)])


def _of_event(position: int, fields: dict[bytes, bytes]) -> dict[str, object]:
    event = event_from_json(fields[b"event"])
    start, time_s = f"{event.event_id}\0", repr(event.occurred_s)
    sets = [{"name": "refunds" if event.type in UNDOING else "recent", "score": time_s, "start": start}]
    if event.type is EventType.IMPRESSION:
        sets = [{"name": "shown", "score": time_s, "start": f"{event.item_id}\0{event.event_id}"}]
    if event.type is EventType.PURCHASE:
        sets.append({"name": "purchases", "score": time_s, "start": start})
    if (lasting := priority(event)) is not None:
        sets.append({"name": "lasting", "score": repr(lasting), "start": start})
    entry: dict[str, object] = {
        "position": position, "mark": f"event:{event.event_id}", "person": event.person, "sets": sets,
    }  # fmt: skip
    if (mass := log_mass(event)) is not None:
        entry |= {"mass": repr(mass), "item": event.item_id}
    if event.type is EventType.PURCHASE:
        entry["day"] = str(day_of(event.occurred_s))
    return entry


def _of_page(position: int, fields: dict[bytes, bytes]) -> tuple[dict[str, object], float]:
    """The entry of a page or a whole ranking, and when it was made."""
    ranking = from_bytes(fields[b"ranking"])
    shown_s = float(fields.get(b"shown_s", ranking.ranked_s))
    sets = [
        {"name": "shown", "score": repr(shown_s), "start": f"{item_id}\0{ranking.ranking_id}"}
        for item_id in (ranking.item_ids if b"shown_s" in fields else ())
    ]
    entry: dict[str, object] = {
        "position": position, "mark": fields[b"mark"].decode(), "person": ranking.person, "sets": sets,
    }  # fmt: skip
    return entry, shown_s
