"""One suite for both profile stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import math
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import (
    Batch,
    Circumstances,
    Event,
    EventType,
    HistoryEntry,
    Impressions,
    ItemFeatures,
)
from services.ranker.domain.interests import interests
from services.ranker.domain.profile import Profile, build_profile
from services.ranker.domain.repurchase import category_key, item_key
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, SHOWN, UserHistory
from services.ranker.ports import ProfileStore
from tests.integration.redis_server import RedisServer

NOW_S = 1_800_000_000.0

Reopen = Callable[[], ProfileStore]


@pytest.fixture(params=["sqlite", "redis"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same store again, as a process would that was killed; the old one is never closed."""
    if request.param == "sqlite":
        return lambda: SqliteProfileStore(tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()

    def restart() -> ProfileStore:
        server.kill()
        server.start()
        return RedisProfileStore(server.client())

    return restart


@pytest.fixture
def store(reopen: Reopen) -> ProfileStore:
    return reopen()


def click(number: int, item: str = "i1", user: str = "u", kind: EventType = EventType.CLICK) -> Event:
    return Event(f"e{number}", user, "s", item, kind, NOW_S + number)


def item(name: str, category: str = "Shoes > Boots", price: float = 9.5) -> ItemFeatures:
    return ItemFeatures(name, np.array([1, 0], np.float32), "m@1", price, category, "B")


def record(store: ProfileStore, tenant: str, events: Sequence[Event], items: Sequence[ItemFeatures] = ()) -> int:
    (recorded,) = store.record([Batch(tenant, events, items)])
    return recorded


def recent(store: ProfileStore, tenant: str = "t", user: str = "u") -> Sequence[HistoryEntry]:
    return store.user_history(tenant, user).recent


def shown(*item_ids: str, ranking: str = "r", first: int = 1, user: str = "u", shown_s: float = NOW_S) -> Impressions:
    places = tuple(range(first, first + len(item_ids)))
    return Impressions(ranking, user, "s", "q", shown_s, "m", item_ids, places, (1.0,) * len(item_ids))


def test_an_event_counts_once(store: ProfileStore) -> None:
    """The same event id sent again, in the same batch or later, changes nothing."""
    assert record(store, "t", [click(1), click(1), click(2)]) == 2
    assert record(store, "t", [click(2), click(3)]) == 1
    assert len(recent(store)) == 3
    assert store.popularity("t", ["i1"], NOW_S + 3) == pytest.approx([3.0], abs=0.01)


def test_batches_count_each_for_itself(store: ProfileStore) -> None:
    """Several batches in one write, of one tenant or of two, are told each how many of its events were new."""
    batches = [Batch("t", [click(1), click(2)], []), Batch("other", [click(1)], []), Batch("t", [click(2)], [])]
    assert store.record(batches) == [2, 1, 0]


def test_the_newest_are_remembered(store: ProfileStore) -> None:
    """Whatever order events came in, the newest acts are there, newest first, and no more than the bound."""
    numbers = [n * 37 % 150 for n in range(150)]
    record(store, "t", [click(n, f"i{n}") for n in numbers])
    assert [entry.item_id for entry in recent(store)] == [f"i{n}" for n in range(149, 49, -1)]


def test_each_kind_has_its_place(store: ProfileStore) -> None:
    """Purchases are remembered beside the newest acts, impressions apart from both, and removals are in no sample."""
    kinds = [EventType.PURCHASE, EventType.REMOVE, EventType.IMPRESSION, EventType.SEARCH, EventType.CLICK]
    record(store, "t", [click(n, f"i{n}", kind=kind) for n, kind in enumerate(kinds)])
    known = store.user_history("t", "u")
    assert [entry.item_id for entry in known.recent] == ["i4", "i3", "i1", "i0"]
    assert [entry.item_id for entry in known.purchases] == ["i0"]
    assert sorted(entry.item_id for entry in known.lasting) == ["i0", "i4"]
    assert list(known.shown) == [("i2", NOW_S + 2)]


def test_what_was_shown_is_remembered(store: ProfileStore) -> None:
    """The gateway's impressions and those of the caller's own pages stand together, newest first, within the bound."""
    record(store, "t", [click(50, "own", kind=EventType.IMPRESSION)])
    pages = [shown(f"a{n}", f"b{n}", ranking=f"r{n}", shown_s=NOW_S + n) for n in range(80)]
    store.record_impressions("t", pages)
    seen = store.user_history("t", "u").shown
    assert len(seen) == SHOWN
    assert [item_id for item_id, _ in seen[:2]] == ["b79", "a79"]
    assert ("own", NOW_S + 50) in seen


def test_features_come_with_the_history(store: ProfileStore) -> None:
    """An item's vector, price, category and brand are joined; an unknown item has none."""
    record(store, "t", [click(1, "known"), click(2, "unknown")], [item("known")])
    unknown, known = recent(store)
    assert unknown.features is None
    assert known.features is not None
    assert known.features.vector is not None
    np.testing.assert_allclose(known.features.vector, [1, 0])
    assert (known.features.price, known.features.category) == (9.5, "Shoes > Boots")


def test_an_event_keeps_the_price_of_its_time(store: ProfileStore) -> None:
    """When an item's price changes, earlier events still have the one that the shopper saw."""
    record(store, "t", [click(1)], [item("i1", price=9.5)])
    record(store, "t", [click(2)], [item("i1", price=5.0)])
    assert [entry.price for entry in recent(store)] == [5.0, 9.5]
    assert [entry.features.price for entry in recent(store) if entry.features] == [5.0, 5.0]


def test_a_missing_price_stays_missing(store: ProfileStore) -> None:
    """An item without price and vector comes back without them."""
    bare = ItemFeatures("bare", None, "", float("nan"), "", "")
    record(store, "t", [click(1, "bare")], [bare])
    features = recent(store)[0].features
    assert features is not None
    assert features.vector is None
    assert np.isnan(features.price)
    assert np.isnan(recent(store)[0].price)


ITEMS = [
    ItemFeatures(f"i{n}", np.eye(4, dtype=np.float32)[n % 4], "m@1", 5.0 + n, ("Shoes", "Lamps")[n % 2], "B")
    for n in range(6)
]
ACTS = st.tuples(
    st.sampled_from(EventType), st.integers(0, len(ITEMS) - 1), st.integers(-(10**7), 0), st.sampled_from([0, 9_000])
)


def profile_bytes(known: UserHistory) -> tuple[object, ...]:
    """Everything of a profile, to the last bit."""
    profile: Profile = build_profile(known, "m@1", 4, NOW_S)
    wishes = interests(profile)
    numbers = (profile.vectors, profile.weights, wishes.vectors, wishes.shares)
    ids = [[entry.event_id for entry in of] for of in (known.recent, known.lasting, known.purchases)]
    return (
        ids, known.shown, profile.item_ids, profile.price, profile.prices, profile.shown_without_click, wishes.item_ids,
        *(array.tobytes() for array in numbers),
    )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_late_doubled_and_disordered_events_make_the_same_profile(store: ProfileStore, data: st.DataObject) -> None:
    """Any order of arrival, any batches and any repetitions give the profile of the ordered events, to the last bit."""
    acts = data.draw(st.lists(ACTS, min_size=1, max_size=250 if data.draw(st.booleans()) else 12))
    events = [
        Event(f"e{n}", "u", "s", f"i{which}", kind, NOW_S + offset, dwell_ms=dwell)
        for n, (kind, which, offset, dwell) in enumerate(acts)
    ]
    ordered, shuffled = uuid.uuid4().hex, uuid.uuid4().hex
    record(store, ordered, sorted(events, key=lambda event: event.occurred_s), ITEMS)
    again = data.draw(st.lists(st.sampled_from(events), max_size=20))
    arrived = data.draw(st.permutations(events + again))
    cut = data.draw(st.integers(0, len(arrived)))
    recorded = [record(store, shuffled, part, ITEMS) for part in (arrived[:cut], arrived[cut:]) if part]
    assert sum(recorded) == len(events)
    assert profile_bytes(store.user_history(shuffled, "u")) == profile_bytes(store.user_history(ordered, "u"))
    keys = [item_key(f"i{n}") for n in range(6)] + [category_key("Shoes")]
    assert store.rebuys(shuffled, keys) == store.rebuys(ordered, keys)


def test_a_long_history_is_bounded(store: ProfileStore) -> None:
    """However much happened, what is remembered of a user has a fixed size."""
    kinds = list(EventType)
    record(store, "t", [click(n, f"i{n % 300}", kind=kinds[n % len(kinds)]) for n in range(3_000)])
    known = store.user_history("t", "u")
    sizes = [len(of) for of in (known.recent, known.lasting, known.purchases, known.shown)]
    assert sizes == [RECENT, LASTING, PURCHASES, SHOWN]


def test_both_stores_remember_the_same(tmp_path: Path, redis_server: RedisServer) -> None:
    """SQLite and Redis choose the same events, in the same order, and count the same purchases."""
    redis_server.client().flushall()
    one, other = SqliteProfileStore(tmp_path), RedisProfileStore(redis_server.client())
    kinds = list(EventType)
    events = [
        Event(f"e{n}", "u", "s", f"i{n % 6}", kinds[n % len(kinds)], NOW_S + n // 3, dwell_ms=n * 100)
        for n in range(900)
    ]
    for store in (one, other):
        record(store, "t", events, ITEMS)
        store.record_impressions("t", [shown("i1", "i2", shown_s=NOW_S + 120), shown("i3", ranking="q")])
    assert profile_bytes(one.user_history("t", "u")) == profile_bytes(other.user_history("t", "u"))
    assert one.events_after("t", 0, 1_000) == other.events_after("t", 0, 1_000)
    assert one.impressions_after("t", 0, 10) == other.impressions_after("t", 0, 10)


def test_who_buys_again(store: ProfileStore) -> None:
    """Buyers and those who came back on another day are counted by item and by category; twice a day is once."""
    day = 86_400

    def bought(number: int, user: str, name: str, on_day: int) -> Event:
        return Event(f"e{number}", user, "s", name, EventType.PURCHASE, NOW_S + on_day * day)

    events = [bought(1, "a", "tea", 0), bought(2, "a", "tea", 9), bought(3, "a", "tea", 20), bought(4, "b", "tea", 0)]
    events += [bought(5, "b", "pot", 0), bought(6, "b", "pot", 0)]
    record(store, "t", events, [item("tea", "Food"), item("pot", "Kitchen")])
    keys = [item_key("tea"), item_key("pot"), category_key("Food"), item_key("nothing")]
    assert store.rebuys("t", keys) == {
        item_key("tea"): (2, 1), item_key("pot"): (1, 0), category_key("Food"): (2, 1),
    }  # fmt: skip


def test_popular_items(store: ProfileStore) -> None:
    """Most acted on first; a category holds what is below it, and not what only begins like it."""
    acts = [click(1, "a"), click(2, "b", kind=EventType.PURCHASE), click(3, "c"), click(4, "c")]
    record(store, "t", acts, [item("a"), item("b", "Shoes"), item("c", "Shoes2")])
    assert [name for name, _ in store.popular("t", "", 10, NOW_S)] == ["b", "c", "a"]
    assert [name for name, _ in store.popular("t", "Shoes", 10, NOW_S)] == ["b", "a"]
    assert [name for name, _ in store.popular("t", "", 1, NOW_S)] == ["b"]


def test_tenants_do_not_mix(store: ProfileStore) -> None:
    """The same ids of two tenants are two things."""
    record(store, "t", [click(1)])
    assert record(store, "other", [click(1)]) == 1
    assert not recent(store, "third")


def test_impressions_count_once(store: ProfileStore) -> None:
    """A page of a ranking is logged once, its next page again."""
    first, second = shown("a", "b"), shown("c", first=3)
    assert store.record_impressions("t", [first]) == 1
    assert store.record_impressions("t", [first, second]) == 1


def test_circumstances_come_back(store: ProfileStore) -> None:
    """What was known of a showing is in the log as it was, unknown prices included; its items are stored."""
    around = Circumstances((0.5, 1.0), (9.99, math.nan), (-1, 3), (0, 7), b"\x00\x3c", "m@1")
    page = replace(shown("i1", "i2"), circumstances=around)
    store.record_impressions("t", [page], ITEMS[:2])
    ((_, read),) = store.impressions_after("t", 0, 9)
    assert repr(read) == repr(page)
    known = store.items("t", ["i1", "nowhere", "i0"])
    assert {id: (item.price, item.category) for id, item in known.items()} == {
        item.item_id: (item.price, item.category) for item in ITEMS[:2]
    }
    assert store.items("t", []) == {}


def test_the_log_is_read_from_a_position(store: ProfileStore) -> None:
    """Events come in the order of recording, whenever they happened; a reader goes on where it stopped."""
    record(store, "t", [click(5), click(2)])
    record(store, "t", [click(9, user="other"), click(1)])
    log = store.events_after("t", 0, 3)
    assert [event.event_id for _, event in log] == ["e5", "e2", "e9"]
    rest = store.events_after("t", log[-1][0], 3)
    assert [event for _, event in rest] == [click(1)]
    assert [event.event_id for _, event in store.events_after("t", 0, 9, "u")] == ["e5", "e2", "e1"]
    store.record_impressions("t", [shown("a", "b"), shown("c", first=3)])
    (first, _), (second, page) = store.impressions_after("t", 0, 9)
    assert second > first
    assert page == shown("c", first=3)


def test_a_replay_makes_the_same_profile(store: ProfileStore) -> None:
    """The log, read page by page and recorded anew elsewhere, makes the profile that it was read beside."""
    kinds = list(EventType)
    events = [
        Event(f"e{n}", "u", "s", f"i{n % 6}", kinds[n % len(kinds)], NOW_S - n * 37 % 5_000, dwell_ms=n * 100)
        for n in range(400)
    ]
    record(store, "t", events, ITEMS)
    store.record_impressions("t", [shown("i1", "i2")])
    position = 0
    while page := store.events_after("t", position, 90):
        record(store, "replay", [event for _, event in page], ITEMS)
        position = page[-1][0]
    store.record_impressions("replay", [entry for _, entry in store.impressions_after("t", 0, 9)])
    assert profile_bytes(store.user_history("replay", "u")) == profile_bytes(store.user_history("t", "u"))


def test_a_position_is_never_given_twice(store: ProfileStore) -> None:
    """After a deletion new events stand beyond all that a reader has met."""
    record(store, "t", [click(1), click(2)])
    last = store.events_after("t", 0, 9)[-1][0]
    store.delete_user("t", "u")
    record(store, "t", [click(3, user="other")])
    assert [event.event_id for _, event in store.events_after("t", last, 9)] == ["e3"]


def test_a_deleted_user_is_gone(store: ProfileStore) -> None:
    """Events, impressions and profile of the user are gone, others' are not, and doing it again changes nothing."""
    kinds = list(EventType)
    record(store, "t", [click(n, kind=kinds[n % len(kinds)]) for n in range(21)], [item("i1")])
    record(store, "t", [click(100, user="other")])
    store.record_impressions("t", [shown("a"), shown("b", ranking="q", user="other")])
    assert store.delete_user("t", "u") == (21, 1)
    assert store.user_history("t", "u") == UserHistory([], [], [], [])
    assert store.events_after("t", 0, 99, "u") == []
    assert store.impressions_after("t", 0, 99, "u") == []
    assert [event.user_id for _, event in store.events_after("t", 0, 99)] == ["other"]
    assert len(recent(store, user="other")) == 1
    assert store.delete_user("t", "u") == (0, 0)


def test_late_events_do_not_bring_a_deleted_user_back(store: ProfileStore) -> None:
    """What happened before a deletion and comes in soon after it is not taken; what happens afterwards is."""
    now = time.time()
    before = Event("e1", "u", "s", "i1", EventType.CLICK, now - 60)
    assert record(store, "t", [before]) == 1
    store.delete_user("t", "u")
    assert record(store, "t", [before, Event("e2", "u", "s", "i1", EventType.CLICK, now - 30)]) == 0
    assert store.record_impressions("t", [shown("a", shown_s=now - 1)]) == 0
    assert record(store, "t", [Event("e3", "u", "s", "i1", EventType.CLICK, time.time() + 1)]) == 1


def test_a_group_goes_on_where_it_stopped(reopen: Reopen) -> None:
    """Positions are a tenant's and a group's own, and there after a kill; a later commit takes their place."""
    store = reopen()
    assert store.committed("t", "learner") == {}
    store.commit("t", "learner", {"events": 7, "impressions": 3})
    store.commit("t", "learner", {"events": 9})
    again = reopen()
    assert again.committed("t", "learner") == {"events": 9, "impressions": 3}
    assert again.committed("t", "other") == again.committed("other", "learner") == {}


def test_a_users_oldest_impressions(store: ProfileStore) -> None:
    """The first position that is left of each user: after a deletion it lies beyond all that was deleted."""
    store.record_impressions("t", [shown("a"), shown("b", ranking="q"), shown("c", ranking="x", user="other")])
    store.record_impressions("t", [shown("d", ranking="y", user="")])
    assert store.oldest_impressions("t", ["u", "other", "nobody", ""]) == {"u": 1, "other": 3}
    store.delete_user("t", "u")
    assert store.oldest_impressions("t", ["u", "other"]) == {"other": 3}
    store.record_impressions("t", [shown("e", ranking="z", shown_s=time.time() + 1)])
    assert store.oldest_impressions("t", ["u"]) == {"u": 5}


def test_counts_add_up(store: ProfileStore) -> None:
    """Sums grow by what is added, each for itself, and are a tenant's own."""
    store.add_counts("t", "trial", {"requests": 2, "seconds": 0.5})
    store.add_counts("t", "trial", {"requests": 3, "errors": 1})
    assert store.counts("t", "trial") == {"requests": 5, "seconds": 0.5, "errors": 1}
    assert store.counts("other", "trial") == store.counts("t", "else") == {}


NAME = "somebody-by-name"


def test_no_byte_of_a_deleted_user_stays_in_the_file(tmp_path: Path) -> None:
    """Neither the database nor its log of changes holds the user's id, or what was searched for, any more."""
    store = SqliteProfileStore(tmp_path)
    events = [Event(f"e{n}", NAME, f"{NAME}-s", "i1", list(EventType)[n % 7], NOW_S, query=NAME) for n in range(500)]
    record(store, "t", events)
    store.record_impressions("t", [shown("a", user=NAME)])

    def found() -> list[str]:
        return [file.name for file in tmp_path.iterdir() if NAME.encode() in file.read_bytes()]

    assert found()
    store.delete_user("t", NAME)
    assert found() == []


def test_no_key_of_a_deleted_user_stays_in_redis(redis_server: RedisServer) -> None:
    """No key names the user, no value does, and the marks of the user's events are gone."""
    client = redis_server.client()
    client.flushall()
    store = RedisProfileStore(client)
    events = [Event(f"e{n}", NAME, "s", "i1", list(EventType)[n % 7], NOW_S, query=NAME) for n in range(70)]
    record(store, "t", events, [item("i1")])
    store.record_impressions("t", [shown("a", user=NAME)])
    assert any(NAME.encode() in key for key in client.scan_iter())
    store.delete_user("t", NAME)
    left = {key.decode().removeprefix("kairos:{t}:") for key in client.scan_iter()}
    forgotten = {key for key in left if key.startswith("forgotten:")}
    assert left - forgotten == {
        "item:i1", "popularity", "buyers", "events", "events:last", "impressions", "impressions:last",
    }  # fmt: skip
    assert len(forgotten) == 1
    assert 0 < client.ttl(f"kairos:{{t}}:{forgotten.pop()}") <= 3_600
    assert client.xlen("kairos:{t}:events") == client.xlen("kairos:{t}:impressions") == 0


def test_a_file_without_circumstances_is_brought_up(tmp_path: Path) -> None:
    """What the version before had logged as shown is there still, and new showings keep their circumstances."""
    before = SqliteProfileStore(tmp_path)
    before.record_impressions("t", [shown("a")])
    before.close()
    with sqlite3.connect(tmp_path / "profiles.db") as db:
        db.execute("ALTER TABLE impressions DROP COLUMN circumstances")
        db.execute("PRAGMA user_version=1")
    db.close()
    store = SqliteProfileStore(tmp_path)
    known = replace(shown("b", ranking="later"), circumstances=Circumstances(stocks=(3,)))
    assert store.record_impressions("t", [known]) == 1
    assert [page for _, page in store.impressions_after("t", 0, 9)] == [shown("a"), known]
    store.close()


def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    """Events, impressions and purchases of a file from before the log had positions are all there."""
    old = sqlite3.connect(tmp_path / "profiles.db")
    old.executescript("""
        CREATE TABLE event (tenant TEXT, event_id TEXT, user_id TEXT, session_id TEXT, item_id TEXT, type TEXT,
            occurred_s REAL, attribution_token TEXT, query TEXT, quantity INTEGER, dwell_ms INTEGER, recorded_s REAL,
            PRIMARY KEY (tenant, event_id));
        CREATE INDEX event_of_user ON event (tenant, user_id, occurred_s DESC, event_id DESC);
        CREATE TABLE impression (tenant TEXT, ranking_id TEXT, position INTEGER, item_id TEXT, propensity REAL,
            user_id TEXT, session_id TEXT, query TEXT, shown_s REAL, model_version TEXT,
            PRIMARY KEY (tenant, ranking_id, position)) WITHOUT ROWID;
        INSERT INTO event VALUES ('t', 'e1', 'u', 's', 'i1', 'purchase', 1e9, '', '', 1, 0, 1e9),
            ('t', 'e2', 'u', 's', 'i1', 'purchase', 1.1e9, '', '', 1, 0, 1e9),
            ('t', 'e3', 'u', 's', '', 'search', 1.1e9, '', 'tea', 1, 0, 1e9);
        INSERT INTO impression VALUES ('t', 'r', 1, 'a', 1.0, 'u', 's', 'q', 1e9, 'm'),
            ('t', 'r', 2, 'b', 0.5, 'u', 's', 'q', 1e9, 'm');
    """)
    old.close()
    for _ in range(2):
        store = SqliteProfileStore(tmp_path)
        known = store.user_history("t", "u")
        assert [entry.event_id for entry in known.recent] == ["e3", "e2", "e1"]
        assert sorted(entry.event_id for entry in known.lasting) == ["e1", "e2"]
        assert [item_id for item_id, _ in known.shown] == ["b", "a"]
        assert store.rebuys("t", [item_key("i1")]) == {item_key("i1"): (1, 1)}
        ((_, page),) = store.impressions_after("t", 0, 9)
        assert (page.item_ids, page.positions, page.propensities) == (("a", "b"), (1, 2), (1.0, 0.5))


def test_what_was_acknowledged_survives(reopen: Reopen) -> None:
    """Recorded events are there after the store was opened anew, without a close (Redis: after kill -9)."""
    record(reopen(), "t", [click(1), click(2)], [item("i1")])
    again = reopen()
    assert len(recent(again)) == 2
    assert record(again, "t", [click(1)]) == 0
