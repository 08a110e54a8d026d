"""A month of a shop at a small rate, with bounds as small: the stores stop growing, and hold what is due."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.common.errors import Overloaded
from services.common.outbox.outbox import EntryBatch, OutboxBounds
from services.common.outbox.sqlite_outbox import FILE, SqliteOutbox
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.stored_ranking import ItemColumns
from services.ranker.ports import LogBound, ProfileStore, Retention
from tests.integration.redis_server import RedisServer
from tests.unit.ranker.rankings import made_ranking

DAY_S, STEPS = 86_400.0, 30
PAGES, EVENTS = 30, 40
RETENTION = Retention(LogBound(400 * DAY_S, 300), LogBound(5 * DAY_S, 1_000), LogBound(5 * DAY_S, 20))
KINDS = list(EventType)


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def month(store: ProfileStore, clock: Clock, size: Callable[[], int]) -> list[int]:
    """The size after each day. Shoppers come and go, and so do products."""
    draw, sizes = random.Random(7), []
    for step in range(STEPS):
        clock.now_s += DAY_S
        items = [
            ItemFeatures(f"i{n}", np.eye(8, dtype=np.float32)[n % 8], "m@1", 9.5, "Shoes", "B")
            for n in range(step, step + 30)
        ]
        pages = [page(f"{step}/{n}", draw.choice(items).item_id, f"u{draw.randrange(50) + step}", clock.now_s)
                 for n in range(PAGES)]  # fmt: skip
        store.record_impressions("t", pages, items, whole=[pages[0].ranking])
        events = [
            Event(f"{step}/{n}", f"u{draw.randrange(50) + step}", "s", draw.choice(items).item_id, KINDS[n % 7],
                  clock.now_s - draw.random() * DAY_S)
            for n in range(EVENTS)
        ]  # fmt: skip
        store.record([Batch("t", events, items)])
        for visitor in range(2):
            store.merge("t", f"v{step}/{visitor}", f"u{step}")
        assert sum(store.trim(RETENTION, clock.now_s)) >= 0
        sizes.append(size())
    return sizes


def page(ranking: str, item: str, user: str, now_s: float) -> Impressions:
    made = made_ranking(item, ranking=ranking, user=user, ranked_s=now_s)
    return Impressions(replace(made, items=ItemColumns()), (1,), now_s)


def is_flat(sizes: Sequence[int]) -> bool:
    """The last third is at most a twentieth larger than the third before."""
    third = len(sizes) // 3
    return max(sizes[-third:]) <= 1.05 * max(sizes[third : 2 * third])


def held(store: ProfileStore) -> tuple[int, int, int]:
    return (
        len(store.events_after("t", 0, 9_999)), len(store.impressions_after("t", 0, 9_999)),
        len(store.whole_rankings_after("t", 0, 9_999)),
    )  # fmt: skip


def test_sqlite_stops_growing(tmp_path: Path) -> None:
    """The file of the ranker is as large at the end of the month as in its middle."""
    clock = Clock()
    store = SqliteProfileStore(tmp_path, clock)

    def size() -> int:
        store.erase()
        return sum(file.stat().st_size for file in tmp_path.iterdir())

    assert is_flat(month(store, clock, size))
    assert held(store) == (300, 5 * PAGES, 5)


def test_redis_stops_growing(redis_server: RedisServer) -> None:
    """The memory of Redis, and its number of keys, are the same at the end of the month as in its middle."""
    client, clock = redis_server.client(), Clock()
    client.flushall()
    store, keys = RedisProfileStore(client, clock), list[int]()

    def size() -> int:
        # A merged visitor is remembered for longer than a month, by two small keys and a set.
        keys.append(client.dbsize() - 3 * (len(keys) + 1))
        return int(client.info("memory")["used_memory"])

    assert is_flat(month(store, clock, size))
    assert is_flat(keys)
    assert held(store) == (300, 5 * PAGES, 5)


def test_the_outbox_stops_growing(tmp_path: Path) -> None:
    """After two weeks without control the file of the outbox has the size of its bound. When control has taken all, it
    gives the disk back.
    """
    sizes, bounds = [], OutboxBounds(1_000_000, 64 << 20)
    outbox = SqliteOutbox(tmp_path, bounds)
    day = [EntryBatch("t", 1_000, bytes(1 << 20))] * 8
    for _ in range(STEPS // 2):
        with suppress(Overloaded):
            outbox.append(day)
        with closing(sqlite3.connect(tmp_path / FILE)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sizes.append((tmp_path / FILE).stat().st_size)
    assert is_flat(sizes)
    assert sizes[-1] < 1.1 * bounds.bytes
    while found := outbox.oldest(1_000_000, 8 << 20):
        outbox.remove(found)
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert (tmp_path / FILE).stat().st_size < 0.5 * bounds.bytes
