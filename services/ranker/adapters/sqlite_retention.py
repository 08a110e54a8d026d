"""The SQLite file as its keeper sees it: what is beyond the bounds is removed, and removed bytes are overwritten."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from services.ranker.adapters.history_cache import HistoryCache
from services.ranker.adapters.sqlite_consumers import SqliteConsumers, marks
from services.ranker.adapters.sqlite_schema import PROFILES_FILE
from services.ranker.domain.event import EventType
from services.ranker.domain.popularity import FORGOTTEN_LOG_MASS, HALF_LIFE_S, log_mass_of
from services.ranker.ports import MERGED_S, Fill, LogBound, Retention

# Rows of one step: it holds the write lock for some 10 ms. Also pages of the file that one step gives back.
STEP = 500
# When each entry of these logs was made.
_TIMES = {"impressions": "shown_s", "whole_rankings": "ranked_s"}
_TABLES = {"impressions": "impressions", "whole_rankings": "whole_ranking"}
# A file with a greater share of empty pages is made smaller.
_MOST_EMPTY = 0.25


class SqliteRetention(SqliteConsumers):
    def __init__(self, data_dir: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(data_dir, clock)
        self._file = data_dir / PROFILES_FILE
        self._eraser = Eraser(self._file)
        self._histories = HistoryCache()

    def trim(self, retention: Retention, now_s: float) -> Iterator[int]:
        # Of tenants that nobody asks for any more, persons may have been deleted by another process.
        self._histories.clear()
        for tenant in self._tenants():
            yield from self._trim_events(tenant, retention.events, now_s)
            yield from self._trim_log(tenant, "impressions", retention.impressions, now_s)
            yield from self._trim_log(tenant, "whole_rankings", retention.whole_rankings, now_s)
            yield from self._trim_items(tenant, now_s - retention.items_s, now_s)
            yield from self._trim_attributes(tenant, retention.attributes, now_s)
        yield from self._give_back_space()

    def trimmed(self, tenant: str) -> dict[str, int]:
        return dict(self._read("SELECT log, position FROM trimmed WHERE tenant = ?", (tenant,)))

    def erase(self) -> bool:
        return self._eraser.erase()

    def fill(self) -> Fill:
        usage = shutil.disk_usage(self._file.parent)
        return Fill("disk", usage.used, usage.used + usage.free)

    def close(self) -> None:
        self._eraser.close()
        super().close()

    def _tenants(self) -> list[str]:
        """Of all tables that grow. Each is found by one search in an index."""
        found: set[str] = set()
        for table in ("event", "impressions", "whole_ranking", "item", "popularity", "merged", "attribute"):
            tenant = ""
            while row := self._read(f"SELECT MIN(tenant) FROM {table} WHERE tenant > ?", (tenant,))[0]:
                if row[0] is None:
                    break
                found.add(tenant := row[0])
        return sorted(found)

    def _trim_events(self, tenant: str, bound: LogBound, now_s: float) -> Iterator[int]:
        over, until_s = self._count_rows("event", tenant) - bound.count, now_s - bound.age_s
        oldest = (
            "SELECT e.position, e.occurred_s, e.person, e.item_id, e.type, "
            "CASE COALESCE(i.group_id, '') WHEN '' THEN e.item_id ELSE i.group_id END FROM event e "
            "LEFT JOIN item i ON i.tenant = e.tenant AND i.item_id = e.item_id WHERE e.tenant = ? "
            "ORDER BY e.occurred_s, e.position LIMIT ?"
        )
        removed = STEP
        while removed == STEP:
            with self._transaction():
                rows = self._db.execute(oldest, (tenant, STEP)).fetchall()
                gone = [row for place, row in enumerate(rows) if place < over or row[1] <= until_s]
                self._remove("event", [row[0] for row in gone])
                self._db.executemany(
                    "DELETE FROM bought WHERE tenant = ? AND person = ? AND item_id = ? AND position = ?",
                    [(tenant, person, item, at) for at, _, person, item, kind, _ in gone if kind == "purchase"],
                )
                masses = (
                    (tenant, person, key, log_mass_of(EventType(kind), item, occurred_s))
                    for _, occurred_s, person, item, kind, key in gone
                )
                self._db.executemany(
                    "DELETE FROM popularity_share WHERE tenant = ? AND person = ? AND item_id = ? AND log_mass <= ?",
                    (row for row in masses if row[-1] is not None),
                )
                if gone:
                    self._note(tenant, "events", max(row[0] for row in gone), max(until_s, gone[-1][1]))
            removed, over = len(gone), over - len(gone)
            yield removed

    def _trim_log(self, tenant: str, log: str, bound: LogBound, now_s: float) -> Iterator[int]:
        table, until_s = _TABLES[log], now_s - bound.age_s
        over = self._count_rows(table, tenant) - bound.count
        oldest = f"SELECT position, {_TIMES[log]} FROM {table} WHERE tenant = ? ORDER BY position LIMIT ?"
        removed = STEP
        while removed == STEP:
            gone: list[int] = []
            with self._transaction():
                for place, (position, made_s) in enumerate(self._db.execute(oldest, (tenant, STEP)).fetchall()):
                    if place >= over and made_s > until_s:
                        break
                    gone.append(position)
                if gone:
                    self._remove(table, gone)
                    self._note(tenant, log, gone[-1], until_s)
            removed, over = len(gone), over - len(gone)
            yield removed

    def _trim_items(self, tenant: str, until_s: float, now_s: float) -> Iterator[int]:
        """Items that nothing in the logs names, with their counts; popularity that has faded; old links of visitors."""
        removed = STEP
        while removed == STEP:
            with self._transaction():
                query = (
                    "SELECT item_id, group_id FROM item WHERE tenant = ? AND stored_s <= ? ORDER BY stored_s LIMIT ?"
                )
                rows = self._db.execute(query, (tenant, until_s, STEP)).fetchall()
                gone = [item for item, _ in rows]
                self._db.executemany(
                    "DELETE FROM variant_popularity WHERE tenant = ? AND item_id = ? AND group_id = ?",
                    [(tenant, *row) for row in rows],
                )
                for table, column, prefix in (("item", "item_id", ""), ("rebuy", "key", "item:")):
                    self._db.execute(
                        f"DELETE FROM {table} WHERE tenant = ? AND {column} IN ({marks(gone)})",
                        (tenant, *(prefix + item for item in gone)),
                    )
                faded = self._db.execute(
                    "DELETE FROM popularity WHERE (tenant, item_id) IN (SELECT tenant, item_id FROM popularity "
                    "WHERE tenant = ? AND log_mass < ? ORDER BY log_mass LIMIT ?) RETURNING item_id",
                    (tenant, FORGOTTEN_LOG_MASS + now_s / HALF_LIFE_S, STEP),
                ).fetchall()
                self._db.executemany(
                    "DELETE FROM variant_popularity WHERE tenant = ? AND group_id = ?",
                    [(tenant, *key) for key in faded],
                )
                self._db.execute("DELETE FROM merged WHERE tenant = ? AND merged_s <= ?", (tenant, now_s - MERGED_S))
            removed = max(len(gone), len(faded))
            yield removed

    def _trim_attributes(self, tenant: str, count: int, now_s: float) -> Iterator[int]:
        over = self._count_rows("attribute", tenant) - count
        expired = "SELECT position FROM attribute WHERE tenant = ? AND expires_s <= ? ORDER BY expires_s LIMIT ?"
        oldest = "SELECT position FROM attribute WHERE tenant = ? ORDER BY position LIMIT ?"
        removed = STEP
        while removed == STEP:
            with self._transaction():
                gone = {position for (position,) in self._db.execute(expired, (tenant, now_s, STEP))}
                most = min(over, STEP) - len(gone)
                if most > 0:
                    gone |= {position for (position,) in self._db.execute(oldest, (tenant, most))}
                self._remove("attribute", sorted(gone))
            removed, over = len(gone), over - len(gone)
            yield removed

    def _give_back_space(self) -> Iterator[int]:
        ((pages,), (empty,)) = (self._read(f"PRAGMA {name}", ())[0] for name in ("page_count", "freelist_count"))
        while empty > _MOST_EMPTY * pages:
            with self._lock:
                # Not `execute`, which takes one step of a statement without columns: a single page.
                self._db.executescript(f"PRAGMA incremental_vacuum({STEP})")
            pages, empty = pages - STEP, empty - STEP
            yield 0

    def _remove(self, table: str, positions: Sequence[int]) -> None:
        self._db.execute(f"DELETE FROM {table} WHERE position IN ({marks(positions)})", tuple(positions))

    def _note(self, tenant: str, log: str, position: int, until_s: float) -> None:
        """Neither of the two ever falls."""
        self._db.execute(
            "INSERT INTO trimmed VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "position = MAX(position, excluded.position), until_s = MAX(until_s, excluded.until_s)",
            (tenant, log, position, until_s),
        )

    def _count_rows(self, table: str, tenant: str) -> int:
        # On a connection of its own: counting a million rows takes some 50 ms, in which requests read and write.
        with closing(sqlite3.connect(self._file)) as db:
            row: tuple[int] = db.execute(f"SELECT COUNT(*) FROM {table} WHERE tenant = ?", (tenant,)).fetchone()
        return row[0]


class Eraser:
    """Empties the log of changes of a file, where deleted rows still stand, without keeping a writer waiting."""

    def __init__(self, file: Path) -> None:
        # Gives up at once if a reader needs the log of changes: waiting for it would block all writers.
        self._db = sqlite3.connect(file, timeout=0, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()

    def erase(self) -> bool:
        """Whether the log of changes is empty now."""
        with self._lock:
            try:
                row: tuple[Any, ...] = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:  # another process is at it
                return False
        return bool(row[0] == 0)

    def close(self) -> None:
        with self._lock:
            self._db.close()
