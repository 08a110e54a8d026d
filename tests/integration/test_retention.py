"""Retention of the ranker's logs, in both stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.user_attributes import Declared
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_schema import PROFILES_FILE
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import person_key
from services.ranker.ports import LogBound, ProfileStore, Retention
from tests.integration.redis_server import RedisServer
from tests.unit.ranker.rankings import made_ranking

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0
USER, VISITOR = person_key("u", ""), person_key("", "v")
ALL = LogBound(1e12, 10**9)


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> ProfileStore:
    if request.param == "sqlite":
        return SqliteProfileStore(tmp_path, clock)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return RedisProfileStore(server.client(), clock)


def event(number: int, at_s: float, kind: EventType = EventType.CLICK, item: str = "i", user: str = "u") -> Event:
    return Event(f"e{number}", user, "s", item, kind, at_s)


def item(name: str) -> ItemFeatures:
    return ItemFeatures(name, None, "m@1", 9.5, "Shoes", "B")


def page(number: int, at_s: float, user: str = "u") -> Impressions:
    ranking = made_ranking(f"i{number}", f"j{number}", ranking=f"r{number}", user=user, ranked_s=at_s)
    return Impressions(ranking, (1, 2), at_s)


def record(store: ProfileStore, events: Sequence[Event], items: Sequence[ItemFeatures] = (), tenant: str = "t") -> int:
    return len(store.record([Batch(tenant, events, items)])[0])


def trim(
    store: ProfileStore, now_s: float = NOW_S, events: LogBound = ALL, pages: LogBound = ALL, whole: LogBound = ALL
) -> int:
    return sum(store.trim(Retention(events, pages, whole), now_s))


def left(store: ProfileStore, tenant: str = "t") -> list[str]:
    return [event.event_id for _, event in store.events_after(tenant, 0, 9_999)]


def test_events_are_kept_for_a_time(store: ProfileStore) -> None:
    """Events that happened before the bound are removed from the log and from the history, whatever their order."""
    record(store, [event(n, NOW_S - days * DAY_S) for n, days in enumerate((1, 40, 2, 31, 3))])
    assert trim(store, events=LogBound(30 * DAY_S, 100)) == 2
    assert left(store) == ["e0", "e2", "e4"]
    history = store.user_history("t", USER)
    assert [entry.event_id for entry in history.recent] == ["e0", "e2", "e4"]
    assert sorted(entry.event_id for entry in history.lasting) == ["e0", "e2", "e4"]
    assert [e.event_id for _, e in store.events_after("t", 0, 9, USER)] == ["e0", "e2", "e4"]


def test_the_newest_events_are_kept(store: ProfileStore) -> None:
    """Beyond the count the events that happened first are removed, of each tenant apart."""
    record(store, [event(n, NOW_S - n) for n in range(1_300)])
    record(store, [event(1, NOW_S)], tenant="other")
    assert trim(store, events=LogBound(1e9, 100)) == 1_200
    assert left(store) == [f"e{n}" for n in range(100)]
    assert left(store, "other") == ["e1"]


def test_attributes_are_kept_for_a_time_and_up_to_a_count(store: ProfileStore) -> None:
    """What has ended is removed, whoever declared it; then, beyond the count, what was set longest ago."""
    for number in range(1_300):
        ends_s = NOW_S + (1 if number % 2 else 2)
        store.set_attributes("t", f"user:{number}", [Declared("size", ("M",), None, NOW_S, ends_s)], [])
    assert sum(store.trim(Retention(ALL, ALL, ALL, 1_000), NOW_S)) == 300
    assert not store.attributes("t", "user:299")
    assert sum(store.trim(Retention(ALL, ALL, ALL, 1_000), NOW_S + 1)) == 500
    left_over = [owned.person for _, owned in store.attributes_after("t", 0, 9_999, ["size"])]
    assert left_over == [f"user:{number}" for number in range(300, 1_300, 2)]


def test_an_event_that_was_removed_is_not_recorded_again(store: ProfileStore) -> None:
    """An event that is older than what the log keeps is skipped, whether it was in the log before or not."""
    first = [event(n, NOW_S - n * DAY_S) for n in range(10)]
    record(store, first)
    trim(store, events=LogBound(1e9, 5))
    assert record(store, [*first, event(100, NOW_S - 5 * DAY_S), event(101, NOW_S - 4.5 * DAY_S)]) == 1
    assert trim(store, events=LogBound(3.5 * DAY_S, 100)) == 2
    assert record(store, [event(102, NOW_S - 3.6 * DAY_S), event(103, NOW_S - 3.4 * DAY_S)]) == 1
    assert left(store) == ["e0", "e1", "e2", "e3", "e103"]


def test_pages_and_whole_rankings_are_kept_for_a_time_and_up_to_a_count(store: ProfileStore) -> None:
    """Both bounds apply; what was shown leaves the history with its page."""
    pages = [page(n, NOW_S - (9 - n) * DAY_S) for n in range(10)]
    store.record_impressions("t", pages, whole=[each.ranking for each in pages])
    assert trim(store, pages=LogBound(6.5 * DAY_S, 5), whole=LogBound(6.5 * DAY_S, 50)) == 5 + 3
    assert [each.key[0] for _, each in store.impressions_after("t", 0, 99)] == [f"r{n}" for n in range(5, 10)]
    assert [each.ranking_id for _, each in store.whole_rankings_after("t", 0, 99)] == [f"r{n}" for n in range(3, 10)]
    assert sorted(id for id, _ in store.user_history("t", USER).shown) == sorted(
        f"{name}{n}" for n in range(5, 10) for name in "ij"
    )
    assert len(store.impressions_after("t", 0, 99, USER)) == 5


def test_a_reader_learns_what_was_removed(store: ProfileStore) -> None:
    """The highest removed position of each log; a reader behind it goes on with the first entry that is left."""
    store.record_impressions("t", [page(n, NOW_S) for n in range(10)])
    assert store.trimmed("t") == {}
    trim(store, pages=LogBound(1e9, 4))
    assert store.trimmed("t")["impressions"] == 6
    (position, first), *_ = store.impressions_after("t", 2, 9)
    assert (position, first.key[0]) == (7, "r6")
    store.record_impressions("t", [page(50, NOW_S)])
    assert store.impressions_after("t", 10, 9)[0][0] == 11


def test_items_live_as_long_as_an_entry_may_name_them(store: ProfileStore, clock: Clock) -> None:
    """An item that nothing has named for the longest retention is removed; one that came again is kept."""
    bound = LogBound(10 * DAY_S, 99)
    record(
        store, [event(1, NOW_S, EventType.PURCHASE, "old"), event(2, NOW_S, item="again")], [item("old"), item("again")]
    )
    clock.now_s += 8 * DAY_S
    record(store, [event(3, clock.now_s, item="again")], [item("again")])
    clock.now_s += 3 * DAY_S
    trim(store, clock.now_s, bound, bound, bound)
    assert list(store.items("t", ["old", "again"])) == ["again"]
    assert store.rebuys("t", ["item:old"]) == {}


def test_popularity_that_has_faded_is_removed(store: ProfileStore) -> None:
    """An item without an event for a year is in no list of popular items; one with an event is."""
    record(store, [event(1, NOW_S, item="a")])
    trim(store, NOW_S + 100 * DAY_S)
    assert [name for name, _ in store.popular("t", "", 9, NOW_S)] == ["a"]
    trim(store, NOW_S + 365 * DAY_S)
    assert store.popular("t", "", 9, NOW_S) == []


def test_purchases_leave_with_their_events(store: ProfileStore) -> None:
    """A purchase day is forgotten with its event: the person is a new buyer afterwards. Counts stay."""
    record(store, [event(1, NOW_S - 40 * DAY_S, EventType.PURCHASE), event(2, NOW_S - DAY_S, EventType.PURCHASE, "b")])
    trim(store, events=LogBound(30 * DAY_S, 99))
    assert [entry.item_id for entry in store.user_history("t", USER).purchases] == ["b"]
    assert store.rebuys("t", ["item:i", "item:b"]) == {"item:i": (1, 0), "item:b": (1, 0)}
    record(store, [event(3, NOW_S, EventType.PURCHASE), event(4, NOW_S, EventType.PURCHASE, "b")])
    assert store.rebuys("t", ["item:i", "item:b"]) == {"item:i": (2, 0), "item:b": (1, 1)}


def test_a_share_of_popularity_leaves_with_its_event(store: ProfileStore) -> None:
    """A person counts once for an item while the log has the event that counted; its removal makes room for another."""
    record(store, [event(1, NOW_S - 2 * DAY_S, item="old"), event(2, NOW_S - DAY_S, item="kept")])
    trim(store, events=LogBound(1e9, 1))
    record(store, [event(3, NOW_S - DAY_S + 1, item="old"), event(4, NOW_S - DAY_S + 1, item="kept")])
    old, kept = store.popularity("t", ["old", "kept"], NOW_S)
    one = 0.5 ** (1 / 7)
    assert kept == pytest.approx(one, rel=1e-4)
    assert old == pytest.approx(one + 0.5 ** (2 / 7), rel=1e-4)


KINDS = list(EventType)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_left_is_as_if_nothing_else_had_come(store: ProfileStore, data: st.DataObject) -> None:
    """After a trim the history equals that of a tenant that recorded only the kept events, merged ones too."""
    count = data.draw(st.integers(1, 25))
    events = [
        replace(event(n, NOW_S - data.draw(st.integers(0, 50)) * DAY_S, KINDS[n % 7], f"i{n % 5}"), user_id=who,
                visitor_id="" if who else "v")
        for n in range(count) for who in [data.draw(st.sampled_from(["u", ""]))]
    ]  # fmt: skip
    bound = LogBound(data.draw(st.integers(1, 60)) * DAY_S, data.draw(st.integers(1, 45)))
    trimmed, fresh = uuid.uuid4().hex, uuid.uuid4().hex
    cut = data.draw(st.integers(0, count))
    record(store, events[:cut], tenant=trimmed)
    trim(store, events=bound)
    store.merge(trimmed, "v", "u")
    record(store, events[cut:], tenant=trimmed)
    trim(store, events=bound)
    ids = left(store, trimmed)
    kept = [each for each in events if each.event_id in ids]
    newest = sorted((each.occurred_s for each in events), reverse=True)[: bound.count]
    assert {each.occurred_s for each in kept} <= {at for at in newest if at > NOW_S - bound.age_s}
    store.merge(fresh, "v", "u")
    record(store, kept, tenant=fresh)
    one, other = (store.user_history(tenant, USER) for tenant in (trimmed, fresh))
    # Prices are NaN, which equals nothing.
    assert repr(one) == repr(other)


def test_sqlite_gives_space_back(tmp_path: Path) -> None:
    """After most of the log was removed, the file is smaller."""
    store = SqliteProfileStore(tmp_path)
    store.record_impressions("t", [page(n, NOW_S) for n in range(600)])
    store.erase()
    before = (tmp_path / PROFILES_FILE).stat().st_size
    trim(store, pages=LogBound(1e9, 10))
    store.erase()
    assert (tmp_path / PROFILES_FILE).stat().st_size < before / 2


def test_a_deletion_does_not_wait_for_a_reader(tmp_path: Path) -> None:
    """Beside a long reader a user is deleted and others are recorded at once; the bytes go when the reader ends."""
    store = SqliteProfileStore(tmp_path)
    record(store, [replace(event(1, NOW_S), query="a secret query")])
    with closing(sqlite3.connect(tmp_path / PROFILES_FILE, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM event").fetchone()
        record(store, [event(2, NOW_S, user="other")])
        began = time.monotonic()
        assert store.delete_person("t", USER) == (1, 0)
        assert record(store, [event(3, NOW_S, user="other")]) == 1
        assert time.monotonic() - began < 2
        assert not store.erase()
    assert store.erase()
    assert not [file for file in tmp_path.iterdir() if b"a secret query" in file.read_bytes()]
