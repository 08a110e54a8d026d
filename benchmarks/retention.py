"""Whether memory and disk stop growing: a simulated month at a share of a shop's rate, with that share of the bounds.

    python -m benchmarks.retention --out R.json --plot R.png [--share 0.01]

The shop shows 20 pages of ten items a second and records 6 events a second. Rate, counts and catalogue are multiplied
by `--share`; ages are not. The clock is passed in: a simulated day takes seconds. Each page has the features of a real
ranking, and its user is one of many. After each quarter of a day the keeper's work is done and the sizes are measured:
the SQLite file with its log of changes, the memory of a real Redis and its append-only file. A size is flat if the 90th
percentile of the last third of the month is at most 5 % above that of the third before: while Redis rewrites its
append-only file, the old and the new one are there for a moment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import redis
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.profile_events import redis_server
from benchmarks.ranker_state import candidates, one_ranking
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.domain.impressions import Impressions, is_logged_whole
from services.ranker.domain.stored_ranking import ItemColumns, StoredRanking
from services.ranker.ports import LogBound, ProfileStore, Retention
from services.ranker.settings import RankingSettings, RetentionSettings

PAGES_S, EVENTS_S, ITEMS, USERS = 20.0, 6.0, 50_000, 200_000
DAYS, STEP_S, PAGE, TENANT = 30, 86_400.0 / 4, 10, "default"
# Records of one call.
GROUP = 500
KINDS = (EventType.CLICK,) * 6 + (EventType.DWELL, EventType.CART, EventType.PURCHASE, EventType.IMPRESSION)

Sizes = dict[str, list[int]]


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Shop:
    """What happens in one step; seeded."""

    def __init__(self, ranking: StoredRanking, share: float, seed: int) -> None:
        self._draw, self._share, self._step = random.Random(seed), share, 0
        self._ranking = replace(ranking.take(range(PAGE)), items=ItemColumns())
        self._whole = ranking.take(range(len(ranking.item_ids)))
        count = max(int(ITEMS * share), PAGE)
        vectors = np.random.default_rng(seed).normal(size=(count, 384)).astype(np.float32)
        self._items = [ItemFeatures(f"item-{n:06}", row, "m@1", 9.5, "Home", "B") for n, row in enumerate(vectors)]
        self._whole_share = RankingSettings().whole_share

    def run(self, store: ProfileStore, now_s: float) -> None:
        self._step += 1
        for numbers in groups(PAGES_S * STEP_S * self._share):
            pages = [self._page(f"{self._step}-{n:08}", now_s) for n in numbers]
            whole = [
                replace(self._whole, ranking_id=page.ranking.ranking_id, user_id=page.ranking.user_id, ranked_s=now_s)
                for page in pages
                if is_logged_whole(page.ranking.ranking_id, self._whole_share)
            ]
            store.record_impressions(TENANT, pages, self._draw.sample(self._items, PAGE), whole)
        for numbers in groups(EVENTS_S * STEP_S * self._share):
            items = self._draw.sample(self._items, min(len(self._items), GROUP))
            events = [
                Event(f"{self._step}-{n:08}", self._user(), f"s{n}", self._draw.choice(items).item_id,
                      KINDS[n % len(KINDS)], now_s - self._draw.random() * STEP_S, dwell_ms=20_000)
                for n in numbers
            ]  # fmt: skip
            store.record([Batch(TENANT, events, items)])

    def _page(self, ranking_id: str, now_s: float) -> Impressions:
        ids = [item.item_id for item in self._draw.sample(self._items, PAGE)]
        made = replace(self._ranking, ranking_id=ranking_id, user_id=self._user(), item_ids=ids, ranked_s=now_s)
        return Impressions(made, range(1, PAGE + 1), now_s)

    def _user(self) -> str:
        return f"user-{self._draw.randrange(max(int(USERS * self._share), 10)):08}"


def groups(count: float) -> Iterator[range]:
    for first in range(0, int(count), GROUP):
        yield range(first, min(first + GROUP, int(count)))


def steps(clock: Clock, title: str) -> Iterator[None]:
    for _ in tqdm(range(round(DAYS * 86_400 / STEP_S)), title):
        clock.now_s += STEP_S
        yield


def bounds(share: float) -> Retention:
    """The defaults, with this share of the counts."""
    own = RetentionSettings().bounds
    events, impressions, whole = (
        LogBound(of.age_s, max(int(of.count * share), 1)) for of in (own.events, own.impressions, own.whole_rankings)
    )
    return Retention(events, impressions, whole)


def month(
    store: ProfileStore, shop: Shop, clock: Clock, share: float, title: str, measure: Callable[[], dict[str, int]]
) -> Sizes:
    sizes: Sizes = {}
    for _ in steps(clock, title):
        shop.run(store, clock.now_s)
        for _ in store.trim(bounds(share), clock.now_s):
            pass
        store.erase()
        for name, size in measure().items():
            sizes.setdefault(name, []).append(size)
    return sizes


def of_sqlite(ranking: StoredRanking, share: float, seed: int) -> Sizes:
    with tempfile.TemporaryDirectory(prefix="kairos-month-") as folder:
        clock = Clock()
        with closing(SqliteProfileStore(Path(folder), clock)) as store:
            return month(
                store, Shop(ranking, share, seed), clock, share, "SQLite",
                lambda: {"SQLite: disk": sum(file.stat().st_size for file in Path(folder).iterdir())},
            )  # fmt: skip


def of_redis(ranking: StoredRanking, share: float, seed: int) -> Sizes:
    with tempfile.TemporaryDirectory(prefix="kairos-month-") as folder, redis_server(Path(folder)) as (url, _):
        client, clock = redis.Redis.from_url(url), Clock()
        # As large as the share of what it may grow to, not to measure when the file is rewritten.
        client.config_set("auto-aof-rewrite-min-size", int(64 * 2**20 * max(share, 0.01)))
        return month(
            RedisProfileStore(client, clock), Shop(ranking, share, seed), clock, share, "Redis",
            lambda: {
                "Redis: memory": int(client.info("memory")["used_memory"]),
                "Redis: disk": sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()),
            },
        )  # fmt: skip


def is_flat(sizes: list[int]) -> bool:
    third = len(sizes) // 3
    return bool(np.percentile(sizes[-third:], 90) <= 1.05 * np.percentile(sizes[third : 2 * third], 90))


def plot(sizes: Sizes, share: float, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    for name, of in sizes.items():
        axes.plot([(n + 1) * STEP_S / 86_400 for n in range(len(of))], [size / 2**20 for size in of], label=name)
    axes.set(xlabel="simulated day", ylabel="MiB", title=f"{share:.2%} of the rate and of the bounds")
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--plot", type=Path, help="path of the picture")
    parser.add_argument("--share", type=float, default=0.01, help="of the rate and of the bounds")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    configure_telemetry("benchmark", TelemetrySettings(log_level="error"))
    share, seed, began = arguments.share, arguments.seed, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = candidates(np.random.default_rng(seed))
        ranking = asyncio.run(one_ranking(found, Path(folder)))
    sizes = of_sqlite(ranking, share, seed)
    if shutil.which("redis-server"):
        sizes |= of_redis(ranking, share, seed)
    table = Table("size", "day 10", "day 20", "day 30", "flat", title=f"MiB, {share:.2%} of the rate and of the bounds")
    for name, of in sizes.items():
        days = [f"{of[len(of) * part // 3 - 1] / 2**20:.1f}" for part in (1, 2, 3)]
        table.add_row(name, *days, "yes" if is_flat(of) else "no")
    Console().print(table)
    report: dict[str, Any] = {"share": share, "seed": seed, "seconds": time.monotonic() - began, "bytes": sizes}
    arguments.out.write_text(json.dumps(report | {"flat": {name: is_flat(of) for name, of in sizes.items()}}) + "\n")
    if arguments.plot:
        plot(sizes, share, arguments.plot)
    return 0 if all(map(is_flat, sizes.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
