"""A month of a shop at a small rate, with bounds as small: the stores stop growing, and hold what is due."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from services.common.money import Money
from services.pricing.adapters.parquet_archive import ParquetArchive
from services.pricing.adapters.sqlite_audit_log import AuditBounds, SqliteAuditLog
from services.pricing.domain.pricing import Offer, PricedItem, PriceReason
from services.pricing.ports import Quote
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


def test_the_audit_log_stops_growing(tmp_path: Path) -> None:
    """Log and local archive together are as large at the end of the month as in its middle."""
    clock, sizes = Clock(), []
    log = SqliteAuditLog(
        tmp_path, ParquetArchive(str(tmp_path / "archive"), 60_000), AuditBounds(DAY_S, 150, 50), clock
    )
    price = Money("USD", Decimal("9.50"))
    offer = Offer(price, price, price, PriceReason.LIST_PRICE, "The list price applies.")
    for step in range(STEPS):
        clock.now_s += DAY_S
        quotes = [
            Quote(f"{step}/{n}", PricedItem("i", price), offer, "rules@1", "r", clock.now_s, clock.now_s)
            for n in range(60)
        ]
        log.append([("t", quotes)])
        if step % 3 < 2:
            continue
        log.archive(clock.now_s)
        with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sizes.append(log.size().online_bytes + log.size().archive_bytes)
    assert is_flat(sizes)
    assert log.size().online_quotes <= 240
    assert log.size().archived_quotes == STEPS * 60 - log.size().online_quotes
