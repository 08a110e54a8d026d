"""The audit log of prices stays small: its oldest partitions move to Parquet files, and no quote is lost."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.common.money import Money
from services.pricing.adapters.parquet_archive import ParquetArchive
from services.pricing.adapters.sqlite_audit_log import AuditBounds, SqliteAuditLog
from services.pricing.domain.pricing import Offer, PricedItem, PriceReason
from services.pricing.ports import Quote

DAY_S = 86_400.0


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def quote(number: int) -> Quote:
    price = Money("USD", Decimal("9.50"))
    item = PricedItem("i", price)
    offer = Offer(price, price, price, PriceReason.LIST_PRICE, "The list price applies.")
    return Quote(
        f"q{number:05}", item, offer, "rules@1", f"request-{number}", 1_800_000_000.0 + number, 1_800_000_900.0
    )


def opened(
    folder: Path, clock: Clock, quotes: int = 100, days: float = 7, most_bytes: int | None = None
) -> SqliteAuditLog:
    archive = ParquetArchive(str(folder / "archive"), most_bytes)
    return SqliteAuditLog(folder, archive, AuditBounds(days * DAY_S, quotes, 20), clock)


def fill(log: SqliteAuditLog, count: int) -> None:
    for first in range(0, count, 10):
        log.append([("t", [quote(number) for number in range(first, first + 10)])])


def online(log: SqliteAuditLog) -> list[str]:
    return sorted(row["quote_id"] for row in log.quotes_of("t", "i", 9_999))


def archived(folder: Path) -> list[str]:
    files = sorted((folder / "archive").glob("*.parquet"))
    return [row["quote_id"] for file in files for row in pq.read_table(file).to_pylist()]


def names(first: int, last: int) -> list[str]:
    return [f"q{number:05}" for number in range(first, last)]


def test_what_is_beyond_the_count_is_archived(tmp_path: Path, clock: Clock) -> None:
    """The newest quotes stay online; the others are in Parquet files, in order, with all columns."""
    log = opened(tmp_path, clock)
    fill(log, 250)
    assert log.archive(clock()) == 160
    assert online(log) == names(160, 250)
    assert archived(tmp_path) == names(0, 160)
    first = pq.read_table(sorted((tmp_path / "archive").iterdir())[0]).to_pylist()[0]
    assert (first["tenant"], first["offer"], first["request_id"]) == ("t", "9.50", "request-0")
    assert log.archive(clock()) == 0
    assert (log.size().online_quotes, log.size().archived_quotes) == (90, 160)


def test_what_is_old_is_archived(tmp_path: Path, clock: Clock) -> None:
    """A partition is closed after a day, and archived when it has been closed for the time that stays online."""
    log = opened(tmp_path, clock, days=7)
    log.append([("t", [quote(1)])])
    clock.now_s += 2 * DAY_S
    log.append([("t", [quote(2)])])
    assert log.archive(clock()) == 0
    clock.now_s += 7 * DAY_S
    assert log.archive(clock()) == 1
    assert (online(log), archived(tmp_path)) == (["q00002"], ["q00001"])


def test_a_failing_archive_stops_nobody(tmp_path: Path, clock: Clock) -> None:
    """If the archive cannot be written, quotes are still given and kept; later they are archived."""
    (tmp_path / "archive").write_text("a file where a folder should be")
    log = opened(tmp_path, clock)
    fill(log, 250)
    with pytest.raises(OSError, match="archive"):
        log.archive(clock())
    log.append([("t", [quote(250)])])
    assert online(log) == names(0, 251)
    (tmp_path / "archive").unlink()
    assert log.archive(clock()) == 160
    assert len(online(log)) + len(archived(tmp_path)) == 251


def test_the_local_archive_has_a_bound(tmp_path: Path, clock: Clock) -> None:
    """Beyond its bytes the oldest files of the local archive are removed."""
    log = opened(tmp_path, clock, quotes=20, most_bytes=20_000)
    fill(log, 300)
    log.archive(clock())
    assert 0 < log.size().archive_bytes <= 20_000
    kept = archived(tmp_path)
    assert kept == names(280 - len(kept), 280)


def test_a_closed_partition_is_final(tmp_path: Path, clock: Clock) -> None:
    """Nobody adds to a closed partition, changes it or removes from it, not even through the file."""
    log = opened(tmp_path, clock)
    log.append([("t", [quote(number) for number in range(20)]), ("t", [])])
    log.append([("t", [quote(20)])])
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        for statement, words in (
            ("INSERT INTO quote_1 SELECT * FROM quote_2", "closed"),
            ("UPDATE quote_1 SET offer = '0'", "never changed"),
            ("DELETE FROM quote_1", "never removed"),
        ):  # fmt: skip
            with pytest.raises(sqlite3.IntegrityError, match=words):
                db.execute(statement)


def test_two_replicas_lose_nothing(tmp_path: Path, clock: Clock) -> None:
    """Two replicas write and archive at the same time: each quote is in the log or in the archive, once."""
    logs = [opened(tmp_path, clock, quotes=40) for _ in range(2)]

    def work(log: SqliteAuditLog, start: int) -> None:
        for number in range(start, start + 100):
            log.append([("t", [quote(number)])])
            if number % 10 == 0:
                log.archive(clock())

    threads = [threading.Thread(target=work, args=(log, 1_000 * place)) for place, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(online(logs[0]) + archived(tmp_path)) == names(0, 100) + names(1_000, 1_100)


def test_the_table_of_an_earlier_layout_is_kept(tmp_path: Path, clock: Clock) -> None:
    """The quotes of a file with one table stay readable and final, and are archived first."""
    log = opened(tmp_path, clock)
    log.append([("t", [quote(1)])])
    log.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        db.executescript("DROP VIEW quote; DROP TABLE partition")
        db.executescript("DROP TRIGGER quote_1_is_final; DROP TRIGGER quote_1_stays")
        db.executescript("DROP INDEX quote_1_of_item; ALTER TABLE quote_1 RENAME TO quote")
    again = opened(tmp_path, clock, days=0.001)
    again.append([("t", [quote(2)])])
    assert online(again) == names(1, 3)
    clock.now_s += 3_600
    assert again.archive(clock()) == 1
    assert archived(tmp_path) == ["q00001"]


def test_partitions_without_the_columns_of_today(tmp_path: Path, clock: Clock) -> None:
    """Partitions that were written before price lists and places existed are read, continued and archived."""
    log = opened(tmp_path, clock)
    fill(log, 30)
    log.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        db.execute("DROP VIEW quote")
        for number in (1, 2):
            for column in ("price_list_id", "place_id"):
                db.execute(f"ALTER TABLE quote_{number} DROP COLUMN {column}")
    again = opened(tmp_path, clock, quotes=20)
    again.append([("t", [quote(30)])])
    assert online(again) == names(0, 31)
    assert [row["place_id"] for row in again.quotes_of("t", "i", 2)] == ["", None]
    with closing(sqlite3.connect(tmp_path / "audit.db")) as db:
        assert db.execute("SELECT COUNT(*) FROM quote WHERE place_id IS NULL").fetchone() == (30,)
    assert again.archive(clock()) == 20
    assert archived(tmp_path) == names(0, 20)
