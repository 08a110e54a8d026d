"""One test suite for both stores of the audit: SQLite, and a real PostgreSQL on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.common.errors import Conflict
from services.control.adapters.sql_audit_store import SqlAuditStore
from services.control.domain.audit import Entry, EntryFilter, EntryKind, Place
from services.control.ports import ArchiveFailed, AuditBounds
from tests.integration.postgres_server import PostgresServer

SHOP, OTHER = "shop", "other"
QUOTE = EntryKind.PRICE_QUOTE
HOUR_S = 3_600.0
# The beginning of an hour.
NOW_S = 1_800_000_000.0


class Clock:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


class Archive:
    """An archive in memory: ids by file. `fails` before it keeps a file; `dies` after that."""

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}
        self.fails = self.dies = False

    def write(self, name: str, kind: EntryKind, entries: Iterable[tuple[str, Entry]], count: int) -> None:
        found = [f"{tenant}/{entry.id}" for tenant, entry in entries]
        assert len(found) == count
        if self.fails:
            raise ArchiveFailed("the disk is full")
        self.files[f"{name}-{kind.value}"] = found
        if self.dies:
            raise ArchiveFailed("it died after the write")

    def keep_within_bound(self) -> None:
        return

    def local_bytes(self) -> int:
        return 0

    @property
    def ids(self) -> list[str]:
        return sorted(id for ids in self.files.values() for id in ids)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
def store(url: str, archive: Archive, clock: Clock) -> Iterator[SqlAuditStore]:
    with closing(opened(url, archive, clock)) as made:
        yield made


def opened(url: str, archive: Archive, clock: Clock, known_ids: int = 1_000) -> SqlAuditStore:
    """Keeps a day, and ten entries of it, in the database."""
    return SqlAuditStore(url, archive, AuditBounds(24 * HOUR_S, 10, known_ids), clock)


def entry(number: int, at_s: float = NOW_S, subject: str = "p1", request: str = "r1") -> Entry:
    return Entry(QUOTE, f"q{number:04}", int(at_s * 1e6), subject, request, f"content {number}\0é".encode())


def entries(first: int, last: int, at_s: float = NOW_S) -> list[Entry]:
    return [entry(number, at_s) for number in range(first, last)]


def archived(store: SqlAuditStore) -> int:
    """How many entries a turn of the archive moved."""
    moved: list[int] = []
    store.archive(threading.Event(), moved.append)
    return sum(moved)


def online(store: SqlAuditStore, tenant: str = SHOP) -> list[str]:
    return sorted(f"{tenant}/{one.id}" for one in store.entries(tenant, EntryFilter(), None, 10_000))


def names(first: int, last: int, tenant: str = SHOP) -> list[str]:
    return [f"{tenant}/q{number:04}" for number in range(first, last)]


def executed(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
    finally:
        engine.dispose()


def test_what_is_recorded_is_there_after_a_restart(url: str, archive: Archive, clock: Clock) -> None:
    """An entry has the same fields when the store is opened again."""
    one = Entry(QUOTE, """外套 'q' "{NULL,\\}" """, int(NOW_S * 1e6) + 1, "Größe", "", b"\0\xff")
    with closing(opened(url, archive, clock)) as first:
        assert first.record(SHOP, [one]) == 1
    with closing(opened(url, archive, clock)) as second:
        assert second.entry(SHOP, QUOTE, one.id) == one
        assert second.entries(SHOP, EntryFilter(), None, 10) == [one]
        assert second.entry(SHOP, QUOTE, "unknown") is None


def test_an_entry_is_stored_once(store: SqlAuditStore) -> None:
    """The first one counts, within a call and over several; another tenant may have the same id."""
    assert store.record(SHOP, [entry(1), entry(1, subject="other"), entry(2)]) == 2
    assert store.record(SHOP, [entry(2, subject="other"), entry(3)]) == 1
    assert store.record(OTHER, [entry(1)]) == 1
    assert online(store) == names(1, 4)
    assert {one.subject_id for one in store.entries(SHOP, EntryFilter(), None, 10)} == {"p1"}
    assert online(store, OTHER) == names(1, 2, OTHER)
    assert store.size().online_entries == 4


def test_a_call_spans_hours(store: SqlAuditStore) -> None:
    """Entries of many hours are stored together, and each is found in its own."""
    mixed = [entry(number, NOW_S + number % 30 * HOUR_S) for number in range(60)]
    assert store.record(SHOP, mixed) == 60
    assert store.record(SHOP, mixed[::-1]) == 0
    assert online(store) == names(0, 60)


def test_the_newest_come_first_page_by_page(store: SqlAuditStore) -> None:
    """Pages follow each other over hours and entries of one moment, each entry once."""
    sent = [entry(number, NOW_S + number // 5 * 1_000) for number in range(40)]
    store.record(SHOP, sent)
    found, after = list[Entry](), None
    while page := store.entries(SHOP, EntryFilter(), after, 7):
        found += page
        after = page[-1].place
    assert found == sorted(sent, key=lambda one: one.place, reverse=True)
    assert after == Place(int(NOW_S * 1e6), "price_quote", "q0000")


def test_lists_are_filtered(store: SqlAuditStore) -> None:
    """By kind, subject, request and time, from included and until not."""
    store.record(SHOP, [entry(1, subject="p1"), entry(2, NOW_S + 1, "p2"), entry(3, NOW_S + HOUR_S, "p2", "r2")])

    def found(**only: object) -> list[str]:
        return [one.id for one in store.entries(SHOP, EntryFilter(**only), None, 10)]  # type: ignore[arg-type]

    assert found(subject_id="p2") == ["q0003", "q0002"]
    assert found(request_id="r1") == ["q0002", "q0001"]
    assert found(kind=QUOTE, subject_id="p2", request_id="r2") == ["q0003"]
    assert found(from_us=int((NOW_S + 1) * 1e6)) == ["q0003", "q0002"]
    assert found(until_us=int((NOW_S + 1) * 1e6)) == ["q0001"]
    assert found(from_us=int((NOW_S + 2) * 1e6), until_us=int((NOW_S + HOUR_S) * 1e6)) == []


def test_several_processes_store_each_once(url: str, archive: Archive, clock: Clock) -> None:
    """Processes that send the same entries at the same time, each in another order, store each entry once."""
    stores = [opened(url, archive, clock) for _ in range(3)]
    sent = [entry(number, NOW_S + number % 4 * HOUR_S) for number in range(400)]
    start = threading.Barrier(len(stores))

    def work(place: int) -> int:
        start.wait()
        turned = sent[place * 100 :] + sent[: place * 100]
        return sum(stores[place].record(SHOP, turned[first : first + 40]) for first in range(0, 400, 40))

    with ThreadPoolExecutor(len(stores)) as pool:
        assert sum(pool.map(work, range(len(stores)))) == 400
    assert online(stores[0]) == names(0, 400)
    assert stores[0].size().online_entries == 400
    for store in stores:
        store.close()


def test_what_is_old_is_archived(store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """An hour is archived when it has been over for the time that stays in the database."""
    store.record(SHOP, entries(0, 3))
    store.record(OTHER, entries(0, 1))
    store.record(SHOP, entries(3, 5, NOW_S + HOUR_S))
    clock.now_s += 24.9 * HOUR_S
    assert archived(store) == 0
    clock.now_s += 0.1 * HOUR_S
    assert archived(store) == 4
    assert (online(store), archive.ids) == (names(3, 5), names(0, 1, OTHER) + names(0, 3))
    assert archived(store) == 0
    assert store.size().online_entries == 2


def test_what_is_beyond_the_count_is_archived(store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """The oldest hours go until the others are few enough; the last two hours stay in any case."""
    for hour in range(5):
        store.record(SHOP, entries(4 * hour, 4 * hour + 4, NOW_S + hour * HOUR_S))
    clock.now_s += 4.5 * HOUR_S
    assert archived(store) == 12
    assert (online(store), archive.ids) == (names(12, 20), names(0, 12))


def test_archived_entries_are_not_stored_again(store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """An entry that comes again after its hour was archived is known; a new one of that hour is stored and archived."""
    store.record(SHOP, entries(0, 5))
    clock.now_s += 25 * HOUR_S
    assert archived(store) == 5
    assert store.record(SHOP, entries(0, 7)) == 2
    assert store.record(SHOP, entries(0, 7)) == 0
    assert store.record(OTHER, entries(0, 1)) == 1
    assert online(store) == names(5, 7)
    assert archived(store) == 0
    clock.now_s += HOUR_S
    assert archived(store) == 3
    assert archive.ids == names(0, 1, OTHER) + names(0, 7)
    assert store.record(SHOP, entries(0, 7)) == 0


def test_known_ids_have_a_bound(url: str, archive: Archive, clock: Clock) -> None:
    """The ids of the oldest archived hours are forgotten beyond it: their entries would be stored again."""
    with closing(opened(url, archive, clock, known_ids=6)) as store:
        for hour in range(2):
            store.record(SHOP, entries(5 * hour, 5 * hour + 5, NOW_S + hour * HOUR_S))
        clock.now_s += 30 * HOUR_S
        assert archived(store) == 10
        assert store.record(SHOP, entries(5, 10, NOW_S + HOUR_S)) == 0
        assert store.record(SHOP, entries(0, 5)) == 5


def test_a_failed_archive_loses_nothing(store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """While the archive fails, entries stay readable and new ones of the same hour are stored; later all are moved."""
    store.record(SHOP, entries(0, 5))
    clock.now_s += 25 * HOUR_S
    archive.fails = True
    with pytest.raises(ArchiveFailed):
        archived(store)
    assert store.record(SHOP, entries(0, 6)) == 1
    assert online(store) == names(0, 6)
    archive.fails = False
    clock.now_s += HOUR_S
    assert archived(store) == 6
    assert archive.ids == names(0, 6)


def test_a_death_after_the_file_doubles_nothing(store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """If the process dies when the file is written and the table is still there, the next turn writes the same file."""
    store.record(SHOP, entries(0, 5))
    clock.now_s += 25 * HOUR_S
    archive.dies = True
    with pytest.raises(ArchiveFailed):
        archived(store)
    assert (archive.ids, online(store)) == (names(0, 5), names(0, 5))
    archive.dies = False
    assert archived(store) == 5
    assert (archive.ids, online(store)) == (names(0, 5), [])


def test_a_death_before_the_table_is_dropped(url: str, store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """What is archived is not listed any more though its table is there; the next turn drops it."""
    store.record(SHOP, entries(0, 5))
    clock.now_s += 25 * HOUR_S
    archived(store)
    with sa.create_engine(url).connect() as connection:
        before = set(sa.inspect(connection).get_table_names())
    store.record(SHOP, entries(5, 6))
    executed(url, "UPDATE audit_partitions SET state = 'archived' WHERE state = 'open'")
    assert online(store) == []
    assert archived(store) == 0
    with sa.create_engine(url).connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) == before


def test_another_content_gets_another_file(url: str, archive: Archive, clock: Clock, tmp_path: Path) -> None:
    """A database that was restored to an earlier state does not replace what it has archived since then."""
    with closing(opened(url, archive, clock)) as store:
        store.record(SHOP, entries(0, 5))
        clock.now_s += 25 * HOUR_S
        archived(store)
    clock.now_s = NOW_S
    with closing(opened(f"sqlite:///{tmp_path / 'restored.db'}", archive, clock)) as restored:
        restored.record(SHOP, entries(0, 3))
        clock.now_s += 25 * HOUR_S
        archived(restored)
    assert sorted(map(len, archive.files.values())) == [3, 5]


def test_a_stop_ends_the_archive(store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """A turn that is told to stop leaves everything as it is, and the next turn moves it."""
    store.record(SHOP, entries(0, 5))
    clock.now_s += 25 * HOUR_S
    stop = threading.Event()
    stop.set()
    store.archive(stop, lambda _: None)
    assert (online(store), archive.ids) == (names(0, 5), [])
    assert archived(store) == 5


def test_entries_are_final(url: str, store: SqlAuditStore, archive: Archive, clock: Clock) -> None:
    """Nobody changes or removes an entry, or adds one to a closed partition, not even in the database."""
    store.record(SHOP, entries(0, 2))
    clock.now_s += 25 * HOUR_S
    archive.fails = True
    with pytest.raises(ArchiveFailed):
        archived(store)
    for statement, words in (
        ("UPDATE audit_entries_1 SET subject_id = 'p9'", "never changed"),
        ("DELETE FROM audit_entries_1", "never changed or removed"),
        ("INSERT INTO audit_entries_1 SELECT * FROM audit_entries_1", "closed"),
    ):
        with pytest.raises(sa.exc.DBAPIError, match=words):
            executed(url, statement)


def test_recording_and_archiving_at_the_same_time(url: str, archive: Archive, clock: Clock) -> None:
    """Two processes record, a part twice, while both archive: each entry is in the database or in the archive, once."""
    stores = [opened(url, archive, clock) for _ in range(2)]
    clock.now_s += 26 * HOUR_S

    def work(place: int) -> None:
        for number in range(0, 120, 6):
            for _ in range(2):
                stores[place].record(SHOP, entries(number, number + 9, NOW_S + number // 60 * HOUR_S))
            if number % 4 == 0:
                clock.now_s += HOUR_S
                archived(stores[place])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    left = online(stores[0])
    for store in stores:
        store.close()
    # At the bounds of the two hours an id comes with two times: these are two entries.
    twice = {f"{SHOP}/q{number:04}" for number in range(60, 63)}
    found = sorted(left + archive.ids)
    assert sorted(set(found)) == names(0, 123)
    assert {id for id in found if found.count(id) > 1} <= twice


def test_a_newer_schema_is_refused(url: str, archive: Archive, clock: Clock) -> None:
    """A store that a newer version made is left alone."""
    opened(url, archive, clock).close()
    executed(url, "UPDATE audit_version SET version_num = '9999'")
    with pytest.raises(Conflict, match="newer version of Kairos"):
        opened(url, archive, clock)
