"""One test suite for both profile stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import Conflict, InvalidArgument, Unavailable
from services.common.user_attributes import Declared
from services.ranker.adapters.redis_client import LAYOUT
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_schema import OLDEST, PROFILES_FILE, VERSION
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, Feedback, HistoryEntry, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.interests import interests
from services.ranker.domain.person import person_key
from services.ranker.domain.popularity import SHARES
from services.ranker.domain.profile import Profile, build_profile
from services.ranker.domain.refunds import UNDOING
from services.ranker.domain.repurchase import category_key, item_key
from services.ranker.domain.shown_ad import ShownAd
from services.ranker.domain.stored_ranking import PageAnswer
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, SHOWN, UserHistory
from services.ranker.ports import MAX_KEPT, ProfileStore
from tests.integration.redis_server import RedisServer
from tests.unit.ranker.rankings import made_ranking, same, shown_prices

NOW_S = 1_800_000_000.0
USER, OTHER = person_key("u", ""), person_key("other", "")

Reopen = Callable[[], ProfileStore]


@pytest.fixture(params=["sqlite", "redis"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same store again, as after a kill; the old one is never closed."""
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
    return len(recorded)


def recent(store: ProfileStore, tenant: str = "t", person: str = USER) -> Sequence[HistoryEntry]:
    return store.user_history(tenant, person).recent


def shown(
    *item_ids: str, ranking: str = "r", first: int = 1, user: str = "u", shown_s: float = NOW_S, visitor: str = ""
) -> Impressions:
    made = made_ranking(*item_ids, ranking=ranking, user=user, visitor=visitor, ranked_s=shown_s)
    return Impressions(made, tuple(range(first, first + len(item_ids))), shown_s)


def test_an_event_counts_once(store: ProfileStore) -> None:
    """The same event id sent again, in the same batch or later, changes nothing."""
    assert record(store, "t", [click(1), click(1), click(2)]) == 2
    assert record(store, "t", [click(2), click(3)]) == 1
    assert len(recent(store)) == 3


def test_feedback_is_logged_and_no_part_of_a_history(store: ProfileStore) -> None:
    """It is read from the log as it was sent, also by its person, and takes no place of the recent events."""
    said = Feedback(-1, 2, "太小了 ☹", "c", "t")
    feedback = replace(click(1, "", kind=EventType.FEEDBACK), feedback=said)
    assert record(store, "t", [feedback, click(2)]) == 2
    assert [event.feedback for _, event in store.events_after("t", 0, 10)] == [said, None]
    assert store.events_after("t", 0, 1, USER)[0][1] == feedback
    assert [entry.event_id for entry in recent(store)] == ["e2"]
    assert store.popularity("t", [""], NOW_S) == [0]


def test_a_person_counts_once_for_the_popularity_of_an_item(store: ProfileStore) -> None:
    """300 clicks of one person, in any order and sent twice, weigh as much as the last one; a purchase weighs 6."""
    many = [click(n * 37 % 300, "a") for n in range(300)]
    assert record(store, "t", many) == 300
    assert record(store, "t", many) == 0
    record(store, "t", [click(1_000 + n, "b", user=f"u{n}") for n in range(3)])
    record(store, "t", [click(2_000, "c"), click(2_001, "c", kind=EventType.CART), click(2_002, "c")])
    record(store, "t", [click(3_000, "d", kind=EventType.PURCHASE), of_visitor(click(3_001, "d"), "u")])
    now_s = NOW_S + 3_001
    assert store.popularity("t", ["a", "b", "c", "d"], now_s) == pytest.approx([1, 3, 3, 7], rel=0.01)
    assert store.popular("t", "", 1, now_s)[0][0] == "d"
    later = replace(click(4_000, "a"), occurred_s=now_s + 14 * 86_400)
    record(store, "t", [later])
    assert store.popularity("t", ["a", "b"], later.occurred_s) == pytest.approx([1, 3 / 4], rel=0.01)


def test_shares_of_a_person_are_bounded(store: ProfileStore) -> None:
    """A person counts again on an item only after as many other items as are kept."""
    record(store, "t", [click(n, f"i{n}") for n in range(SHARES)])
    record(store, "t", [click(SHARES, "i0")])
    assert store.popularity("t", ["i0"], NOW_S) == pytest.approx([1], rel=0.01)
    record(store, "t", [click(1_000 + n, f"j{n}") for n in range(SHARES)])
    record(store, "t", [click(2_000, "i0")])
    assert store.popularity("t", ["i0"], NOW_S) == pytest.approx([2], rel=0.01)


def test_shares_of_a_merged_visitor(store: ProfileStore) -> None:
    """After a merge, the user does not count again on what the visitor acted on; a deletion removes the shares."""
    record(store, "t", [of_visitor(click(1, "a"))])
    store.merge("t", "v", "u")
    record(store, "t", [click(2, "a"), of_visitor(click(3, "a"))])
    assert store.popularity("t", ["a"], NOW_S) == pytest.approx([1], rel=0.01)
    store.delete_person("t", USER)
    record(store, "t", [replace(click(4, "a"), occurred_s=time.time() + 9)])
    assert store.popularity("t", ["a"], NOW_S)[0] > 1.005


def test_the_first_token_key_stays(reopen: Reopen) -> None:
    """The key that was proposed first is the key of all, also for a store that is opened after a kill."""
    store = reopen()
    assert [store.token_key("first"), store.token_key("second")] == ["first", "first"]
    assert reopen().token_key("third") == "first"


def test_batches_are_counted_separately(store: ProfileStore) -> None:
    """Several batches in one write, of one or two tenants, return the ids of each batch's new events."""
    batches = [Batch("t", [click(1), click(2)], []), Batch("other", [click(1)], []), Batch("t", [click(2)], [])]
    assert store.record(batches) == [["e1", "e2"], ["e1"], []]


def test_the_newest_events_are_kept(store: ProfileStore) -> None:
    """For any order of arrival the newest events are kept, newest first, up to the bound."""
    numbers = [n * 37 % 150 for n in range(150)]
    record(store, "t", [click(n, f"i{n}") for n in numbers])
    assert [entry.item_id for entry in recent(store)] == [f"i{n}" for n in range(149, 49, -1)]


def test_each_kind_is_kept_separately(store: ProfileStore) -> None:
    """Purchases are kept in addition to the newest events, impressions apart; removals are in no sample."""
    kinds = [EventType.PURCHASE, EventType.REMOVE, EventType.IMPRESSION, EventType.SEARCH, EventType.CLICK]
    record(store, "t", [click(n, f"i{n}", kind=kind) for n, kind in enumerate(kinds)])
    known = store.user_history("t", USER)
    assert [entry.item_id for entry in known.recent] == ["i4", "i3", "i1", "i0"]
    assert [entry.item_id for entry in known.purchases] == ["i0"]
    assert sorted(entry.item_id for entry in known.lasting) == ["i0", "i4"]
    assert list(known.shown) == [("i2", NOW_S + 2)]


def test_impressions_are_in_the_history(store: ProfileStore) -> None:
    """Impressions of the gateway and of the caller's own pages are kept, newest first, up to the bound."""
    record(store, "t", [click(50, "own", kind=EventType.IMPRESSION)])
    pages = [shown(f"a{n}", f"b{n}", ranking=f"r{n}", shown_s=NOW_S + n) for n in range(80)]
    store.record_impressions("t", pages)
    seen = store.user_history("t", USER).shown
    assert len(seen) == SHOWN
    assert [item_id for item_id, _ in seen[:2]] == ["b79", "a79"]
    assert ("own", NOW_S + 50) in seen


def test_features_come_with_the_history(store: ProfileStore) -> None:
    """The history has each item's vector, price, category and brand; an unknown item has none."""
    record(store, "t", [click(1, "known"), click(2, "unknown")], [item("known")])
    unknown, known = recent(store)
    assert unknown.features is None
    assert known.features is not None
    assert known.features.vector is not None
    np.testing.assert_allclose(known.features.vector, [1, 0])
    assert (known.features.price, known.features.category) == (9.5, "Shoes > Boots")


def test_an_event_keeps_the_price_of_its_time(store: ProfileStore) -> None:
    """When an item's price changes, earlier events keep the price that the shopper saw."""
    record(store, "t", [click(1)], [item("i1", price=9.5)])
    record(store, "t", [click(2)], [item("i1", price=5.0)])
    assert [entry.price for entry in recent(store)] == [5.0, 9.5]
    assert [entry.features.price for entry in recent(store) if entry.features] == [5.0, 5.0]


def test_a_missing_price_stays_missing(store: ProfileStore) -> None:
    """An item without price and vector is returned without them."""
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
SIZES = st.sampled_from([6, 30, 250])
DRAWN_EVENTS = st.tuples(
    st.sampled_from(EventType), st.integers(0, len(ITEMS) - 1), st.integers(-(10**7), 0), st.sampled_from([0, 9_000])
)


def profile_bytes(known: UserHistory) -> tuple[object, ...]:
    """All values of a profile, for a bit-by-bit comparison."""
    profile: Profile = build_profile(known, "m@1", 4, NOW_S)
    found = interests(profile)
    numbers = (profile.vectors, profile.weights, found.vectors, found.shares)
    ids = [[entry.event_id for entry in of] for of in (known.recent, known.lasting, known.purchases)]
    return (
        ids, known.shown, profile.item_ids, profile.price, profile.prices, profile.shown_without_click, found.item_ids,
        *(array.tobytes() for array in numbers),
    )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_late_doubled_and_disordered_events_make_the_same_profile(store: ProfileStore, data: st.DataObject) -> None:
    """Any arrival order, batches and repetitions give the profile of the ordered events, bit by bit."""
    drawn = data.draw(st.lists(DRAWN_EVENTS, min_size=1, max_size=250 if data.draw(st.booleans()) else 12))
    events = [
        Event(f"e{n}", "u", "s", f"i{which}", kind, NOW_S + offset, dwell_ms=dwell)
        for n, (kind, which, offset, dwell) in enumerate(drawn)
    ]
    ordered, shuffled = uuid.uuid4().hex, uuid.uuid4().hex
    record(store, ordered, sorted(events, key=lambda event: event.occurred_s), ITEMS)
    again = data.draw(st.lists(st.sampled_from(events), max_size=20))
    arrived = data.draw(st.permutations(events + again))
    cut = data.draw(st.integers(0, len(arrived)))
    recorded = [record(store, shuffled, part, ITEMS) for part in (arrived[:cut], arrived[cut:]) if part]
    assert sum(recorded) == len(events)
    assert profile_bytes(store.user_history(shuffled, USER)) == profile_bytes(store.user_history(ordered, USER))
    keys = [item_key(f"i{n}") for n in range(6)] + [category_key("Shoes")]
    assert store.rebuys(shuffled, keys) == store.rebuys(ordered, keys)


def test_a_long_history_is_bounded(store: ProfileStore) -> None:
    """A user history has a maximum size for any number of events."""
    kinds = [kind for kind in EventType if kind not in UNDOING]
    record(store, "t", [click(n, f"i{n % 300}", kind=kinds[n % len(kinds)]) for n in range(3_000)])
    known = store.user_history("t", USER)
    sizes = [len(of) for of in (known.recent, known.lasting, known.purchases, known.shown)]
    assert sizes == [RECENT, LASTING, PURCHASES, SHOWN]
    record(store, "t", [click(3_000 + n, f"i{n % 300}", kind=EventType.REFUND) for n in range(300)])
    sizes = [len(of) for of in (store.user_history("t", USER).recent, store.user_history("t", USER).purchases)]
    assert sizes[0] <= RECENT
    assert sizes[1] < PURCHASES


def test_both_stores_keep_the_same(tmp_path: Path, redis_server: RedisServer) -> None:
    """SQLite and Redis keep the same events in the same order and count the same purchases."""
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
    assert profile_bytes(one.user_history("t", USER)) == profile_bytes(other.user_history("t", USER))
    assert one.events_after("t", 0, 1_000) == other.events_after("t", 0, 1_000)
    assert same(one.impressions_after("t", 0, 10), other.impressions_after("t", 0, 10))


def test_repeat_buyers(store: ProfileStore) -> None:
    """Buyers and repeat buyers on another day are counted by item and category; twice a day counts once."""
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
    """The most popular come first; a category includes its subcategories, not others with the same prefix."""
    drawn = [click(1, "a"), click(2, "b", kind=EventType.PURCHASE), click(3, "c"), click(4, "c", user="w")]
    record(store, "t", drawn, [item("a"), item("b", "Shoes"), item("c", "Shoes2")])
    assert [name for name, _ in store.popular("t", "", 10, NOW_S)] == ["b", "c", "a"]
    assert [name for name, _ in store.popular("t", "Shoes", 10, NOW_S)] == ["b", "a"]
    assert [name for name, _ in store.popular("t", "", 1, NOW_S)] == ["b"]


def test_tenants_do_not_mix(store: ProfileStore) -> None:
    """The same ids in two tenants are independent."""
    record(store, "t", [click(1)])
    assert record(store, "other", [click(1)]) == 1
    assert not recent(store, "third")


def test_impressions_count_once(store: ProfileStore) -> None:
    """A page of a ranking is logged once; its next page is logged too."""
    first, second = shown("a", "b"), shown("c", first=3)
    assert store.record_impressions("t", [first]) == 1
    assert store.record_impressions("t", [first, second]) == 1


def test_the_log_is_read_from_a_position(store: ProfileStore) -> None:
    """Events are read in the order of recording, not of their times; a reader continues at its position."""
    record(store, "t", [click(5), click(2)])
    record(store, "t", [click(9, user="other"), click(1)])
    log = store.events_after("t", 0, 3)
    assert [event.event_id for _, event in log] == ["e5", "e2", "e9"]
    rest = store.events_after("t", log[-1][0], 3)
    assert [event for _, event in rest] == [click(1)]
    assert [event.event_id for _, event in store.events_after("t", 0, 9, USER)] == ["e5", "e2", "e1"]
    store.record_impressions("t", [shown("a", "b"), shown("c", first=3)])
    (first, _), (second, page) = store.impressions_after("t", 0, 9)
    assert second > first
    assert same(page, shown("c", first=3))


def test_a_replay_makes_the_same_profile(store: ProfileStore) -> None:
    """The log, read in parts and recorded for another tenant, gives the same profile."""
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
    assert profile_bytes(store.user_history("replay", USER)) == profile_bytes(store.user_history("t", USER))


def test_a_position_is_never_reused(store: ProfileStore) -> None:
    """After a deletion, new events have positions beyond all earlier ones."""
    record(store, "t", [click(1), click(2)])
    last = store.events_after("t", 0, 9)[-1][0]
    store.delete_person("t", USER)
    record(store, "t", [click(3, user="other")])
    assert [event.event_id for _, event in store.events_after("t", last, 9)] == ["e3"]


def test_a_deleted_user_is_removed(store: ProfileStore) -> None:
    """The user's events, impressions and profile are removed, others' are kept; a repeat changes nothing."""
    kinds = list(EventType)
    record(store, "t", [click(n, kind=kinds[n % len(kinds)]) for n in range(21)], [item("i1")])
    record(store, "t", [click(100, user="other")])
    store.record_impressions("t", [shown("a"), shown("b", ranking="q", user="other")])
    assert store.delete_person("t", USER) == (21, 1)
    assert store.user_history("t", USER) == UserHistory([], [], [], [])
    assert store.events_after("t", 0, 99, USER) == []
    assert store.impressions_after("t", 0, 99, USER) == []
    assert [event.user_id for _, event in store.events_after("t", 0, 99)] == ["other"]
    assert len(recent(store, person="user:other")) == 1
    assert store.delete_person("t", USER) == (0, 0)


def test_late_events_do_not_restore_a_deleted_user(store: ProfileStore) -> None:
    """Late events from before a deletion are skipped; events from after it are recorded."""
    now = time.time()
    before = Event("e1", "u", "s", "i1", EventType.CLICK, now - 60)
    assert record(store, "t", [before]) == 1
    store.delete_person("t", USER)
    assert record(store, "t", [before, Event("e2", "u", "s", "i1", EventType.CLICK, now - 30)]) == 0
    assert store.record_impressions("t", [shown("a", shown_s=now - 1)]) == 0
    assert record(store, "t", [Event("e3", "u", "s", "i1", EventType.CLICK, time.time() + 1)]) == 1


def test_a_group_continues_at_its_position(reopen: Reopen) -> None:
    """Positions are per tenant and group and survive a kill; a later commit replaces them."""
    store = reopen()
    assert store.committed("t", "learner") == {}
    store.commit("t", "learner", {"events": 7, "impressions": 3})
    store.commit("t", "learner", {"events": 9})
    again = reopen()
    assert again.committed("t", "learner") == {"events": 9, "impressions": 3}
    assert again.committed("t", "other") == again.committed("other", "learner") == {}


def test_a_users_oldest_impressions(store: ProfileStore) -> None:
    """Each user's first position in the log; after a deletion it is beyond all deleted positions."""
    store.record_impressions("t", [shown("a"), shown("b", ranking="q"), shown("c", ranking="x", user="other")])
    store.record_impressions("t", [shown("d", ranking="y", user="")])
    assert store.oldest_impressions("t", [USER, OTHER, "user:nobody", ""]) == {USER: 1, OTHER: 3}
    store.delete_person("t", USER)
    assert store.oldest_impressions("t", [USER, OTHER]) == {OTHER: 3}
    store.record_impressions("t", [shown("e", ranking="z", shown_s=time.time() + 1)])
    assert store.oldest_impressions("t", [USER]) == {USER: 5}


def test_where_the_newest_impressions_begin(store: ProfileStore) -> None:
    """Behind the position the newest ones of the tenant follow; all of them if there are fewer."""
    assert store.newest_impressions_start("t", 3) == 0
    for number in range(5):
        store.record_impressions("t", [shown("a", ranking=f"r{number}")])
        store.record_impressions("other", [shown("a", ranking=f"o{number}")])
    for count in (1, 2, 5, 9):
        start = store.newest_impressions_start("t", count)
        found = [page.key[0] for _, page in store.impressions_after("t", start, 99)]
        assert found == [f"r{number}" for number in range(5)][-count:]


def test_counts_add_up(store: ProfileStore) -> None:
    """Sums grow by the added counts, separately by key and tenant."""
    store.add_counts("t", "trial", {"requests": 2, "seconds": 0.5})
    store.add_counts("t", "trial", {"requests": 3, "errors": 1})
    assert store.counts("t", "trial") == {"requests": 5, "seconds": 0.5, "errors": 1}
    assert store.counts("other", "trial") == store.counts("t", "else") == {}


def declare(store: ProfileStore, person: str, *names: str, expires_s: float = 9e9) -> list[str]:
    """The names of what is stored then."""
    declared = [Declared(name, (f"{name} of {person}",), None, NOW_S, expires_s) for name in names]
    return [each.name for each in store.set_attributes("t", person, declared, [])]


def test_attributes_are_replaced_and_removed_by_name(reopen: Reopen) -> None:
    """Others stay, of other persons too; a repeat changes nothing; what was acknowledged survives a kill."""
    store = reopen()
    size, spend = Declared("size", ("M", "S"), None, NOW_S, 9e9), Declared("spend", (), 2.5, NOW_S, 9e9)
    assert store.set_attributes("t", USER, [spend, size], []) == [size, spend]
    declare(store, OTHER, "size")
    larger = replace(size, texts=("L",))
    for _ in range(2):
        assert store.set_attributes("t", USER, [larger], ["spend", "unknown"]) == [larger]
    again = reopen()
    assert again.attributes("t", USER) == [larger]
    assert [each.texts for each in again.attributes("t", OTHER)] == [(f"size of {OTHER}",)]
    assert again.attributes("other", USER) == again.attributes("t", "user:nobody") == []


def test_attributes_of_a_person_are_bounded(store: ProfileStore) -> None:
    """Beyond the bound those that were set longest ago are removed."""
    declare(store, USER, *(f"a{n:02}" for n in range(MAX_KEPT)))
    assert declare(store, USER, "a00", "b") == ["a00", *(f"a{n:02}" for n in range(2, MAX_KEPT)), "b"]


def test_an_attribute_ends(store: ProfileStore) -> None:
    """A value is not returned after its time, even before it is removed."""
    assert declare(store, USER, "old", expires_s=time.time() - 1) == []
    assert declare(store, USER, "new") == ["new"]
    assert [owned.declared.name for _, owned in store.attributes_after("t", 0, 9, ["old", "new"])] == ["new"]


def test_attributes_of_all_persons_are_read_from_a_position(store: ProfileStore) -> None:
    """In the order in which they were set last, only the asked names, page by page."""
    for number in range(1_100):
        declare(store, f"user:{number}", "size", *(["year"] if number % 400 == 0 else []))
    declare(store, "user:0", "year")
    whole = store.attributes_after("t", 0, 9, ["year", "other"])
    assert [owned.person for _, owned in whole] == ["user:400", "user:800", "user:0"]
    assert {owned.declared.name for _, owned in whole} == {"year"}
    first = store.attributes_after("t", 0, 2, ["year"])
    assert first + store.attributes_after("t", first[-1][0], 2, ["year"]) == whole
    assert store.attributes_after("t", 0, 9, []) == store.attributes_after("t", whole[-1][0], 9, ["year"]) == []


def test_attributes_follow_a_merge_and_a_deletion(store: ProfileStore) -> None:
    """The user's own values win, the visitor's others move, and later ones of the visitor too. All are erased."""
    visitor = person_key("", "v")
    declare(store, USER, "size")
    declare(store, visitor, "size", "region")
    declare(store, OTHER, "size")
    store.merge("t", "v", "u")
    merged = {"region": (f"region of {visitor}",), "size": (f"size of {USER}",)}
    for person in (USER, visitor):
        assert {each.name: each.texts for each in store.attributes("t", person)} == merged
    assert declare(store, visitor, "club") == ["club", "region", "size"]
    owners = [owned.person for _, owned in store.attributes_after("t", 0, 9, ["size", "region", "club"])]
    assert sorted(owners) == sorted([USER, USER, USER, OTHER])
    store.delete_person("t", visitor)
    assert store.attributes("t", USER) == store.attributes("t", visitor) == []
    assert [owned.person for _, owned in store.attributes_after("t", 0, 9, ["size", "region", "club"])] == [OTHER]


def test_an_attribute_that_has_ended_gives_way_in_a_merge(store: ProfileStore) -> None:
    """The user's value has ended and is not removed yet: the visitor's moves, unless that has ended too."""
    visitor = person_key("", "v")
    declare(store, USER, "size", expires_s=time.time() - 1)
    declare(store, visitor, "size")
    declare(store, visitor, "club", expires_s=time.time() - 1)
    store.merge("t", "v", "u")
    assert [each.texts for each in store.attributes("t", USER)] == [(f"size of {visitor}",)]
    owners = [owned.person for _, owned in store.attributes_after("t", 0, 9, ["size", "club"])]
    assert owners == [USER]


NAME = "somebody-by-name"


def test_no_byte_of_a_deleted_user_stays_in_the_file(tmp_path: Path) -> None:
    """After a deletion, neither the database nor its write-ahead log has the user's id or queries."""
    store = SqliteProfileStore(tmp_path)
    events = [Event(f"e{n}", NAME, f"{NAME}-s", "i1", list(EventType)[n % 7], NOW_S, query=NAME) for n in range(500)]
    record(store, "t", events)
    store.merge("t", f"{NAME}-visitor", NAME)
    record(store, "t", [replace(events[0], event_id="v", user_id="", visitor_id=f"{NAME}-visitor")])
    store.record_impressions("t", [shown("a", user=NAME)], whole=[made_ranking("a", user=NAME)])
    declare(store, person_key(NAME, ""), "size")

    def found() -> list[str]:
        return [file.name for file in tmp_path.iterdir() if NAME.encode() in file.read_bytes()]

    assert found()
    store.delete_person("t", person_key(NAME, ""))
    assert found() == []


def test_no_key_of_a_deleted_user_stays_in_redis(redis_server: RedisServer) -> None:
    """No key or value names the user, and the marks of the user's events are removed."""
    client = redis_server.client()
    client.flushall()
    store = RedisProfileStore(client)
    events = [Event(f"e{n}", NAME, "s", "i1", list(EventType)[n % 7], NOW_S, query=NAME) for n in range(70)]
    record(store, "t", events, [item("i1")])
    store.merge("t", f"{NAME}-visitor", NAME)
    record(store, "t", [replace(events[0], event_id="v", user_id="", visitor_id=f"{NAME}-visitor")])
    store.record_impressions("t", [shown("a", user=NAME)], whole=[made_ranking("a", user=NAME)])
    declare(store, person_key(NAME, ""), "size")
    assert any(NAME.encode() in key for key in client.scan_iter())
    store.delete_person("t", person_key(NAME, ""))
    left = {key.decode().removeprefix("kairos:{t}:") for key in client.scan_iter("kairos:{t}:*")}
    forgotten = {key for key in left if key.startswith("forgotten:")}
    assert left - forgotten == {
        "item:i1", "items", "popularity", "buyers", "events", "events:last", "impressions", "impressions:last",
        "whole_rankings", "whole_rankings:last", "attributes:last", "revision",
    }  # fmt: skip
    assert len(forgotten) == 2
    assert 0 < client.ttl(f"kairos:{{t}}:{forgotten.pop()}") <= 3_600
    assert client.xlen("kairos:{t}:events") == client.xlen("kairos:{t}:impressions") == 0


def test_acknowledged_events_survive(reopen: Reopen) -> None:
    """Recorded events are present after the store is reopened without a close (Redis: after kill -9)."""
    record(reopen(), "t", [click(1), click(2)], [item("i1")])
    again = reopen()
    assert len(recent(again)) == 2
    assert record(again, "t", [click(1)]) == 0


def test_a_shown_page_is_restored(store: ProfileStore) -> None:
    """The log has a page with all of its data, prices, ads and answer too, bit by bit; its items are stored."""
    ranking = made_ranking("i1", "i2", "i3", ranked_s=NOW_S - 9).take([0, 1, 2])
    ads, answer = (ShownAd("i2", "c", 5, "EUR", 0.5),), PageAnswer(12.5, [(4, 1), (3, 10)])
    page = Impressions(replace(ranking, prices=shown_prices(), ads=ads, answer=answer), (4, 7, 8), NOW_S)
    store.record_impressions("t", [page], ITEMS[:2])
    ((_, read),) = store.impressions_after("t", 0, 9)
    assert same(read, page)
    known = store.items("t", ["i1", "nowhere", "i0"])
    assert {id: (item.price, item.category) for id, item in known.items()} == {
        item.item_id: (item.price, item.category) for item in ITEMS[:2]
    }
    assert store.items("t", []) == {}


def test_a_page_without_results_is_logged_once(store: ProfileStore) -> None:
    """It is read back as it was, counts as nothing that the person saw, and is deleted with the person."""
    empty = made_ranking(features=False).take([])
    page = Impressions(replace(empty, answer=PageAnswer(3.0, [])), (), NOW_S)
    assert [store.record_impressions("t", [page]) for _ in range(2)] == [1, 0]
    ((_, read),) = store.impressions_after("t", 0, 9)
    assert same(read, page)
    assert not store.user_history("t", USER).shown
    assert store.delete_person("t", USER) == (0, 1)


def test_a_whole_ranking_is_logged_once(store: ProfileStore) -> None:
    """A ranking logged whole is read back unchanged, and once however often its pages are recorded."""
    whole = made_ranking("a", "b", "c", ranked_s=NOW_S)
    for first in (1, 2):
        store.record_impressions("t", [shown("a", first=first)], whole=[whole])
    ((position, read),) = store.whole_rankings_after("t", 0, 9)
    assert position == 1
    assert same(read, whole)
    assert len(store.whole_rankings_after("t", 0, 9, USER)) == 1
    assert store.whole_rankings_after("t", 0, 9, OTHER) == []
    store.delete_person("t", USER)
    assert store.whole_rankings_after("t", 0, 9) == []


def of_visitor(event: Event, visitor: str = "v") -> Event:
    return replace(event, user_id="", visitor_id=visitor)


VISITOR = person_key("", "v")


def test_users_and_visitors_do_not_collide(store: ProfileStore) -> None:
    """A visitor and a user of the same id have separate histories; an event with both ids is the user's."""
    record(store, "t", [click(1, "of user"), of_visitor(click(2, "of visitor"), "u")])
    record(store, "t", [replace(click(3, "of both"), visitor_id="u")])
    assert [entry.item_id for entry in recent(store)] == ["of both", "of user"]
    assert [entry.item_id for entry in recent(store, person=person_key("", "u"))] == ["of visitor"]
    exported = [event for _, event in store.events_after("t", 0, 9, person_key("", "u"))]
    assert [(event.user_id, event.visitor_id) for event in exported] == [("", "u")]


def test_a_visitor_has_a_whole_history(store: ProfileStore) -> None:
    """Purchases, impressions and popularity of a visitor count as for a user."""
    bought = of_visitor(click(1, "tea", kind=EventType.PURCHASE))
    again = of_visitor(replace(click(2, "tea", kind=EventType.PURCHASE), occurred_s=NOW_S + 9 * 86_400))
    record(store, "t", [bought, again], [item("tea", "Food")])
    store.record_impressions("t", [shown("pot", user="", visitor="v")])
    known = store.user_history("t", VISITOR)
    assert [entry.event_id for entry in known.purchases] == ["e2", "e1"]
    assert [item_id for item_id, _ in known.shown] == ["pot"]
    assert store.rebuys("t", [item_key("tea")]) == {item_key("tea"): (1, 1)}
    assert store.popularity("t", ["tea"], NOW_S)[0] > 6


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_merged_history_is_the_users_own(store: ProfileStore, data: st.DataObject) -> None:
    """After a merge, history, counts and logs equal, bit by bit, those of a user with the same events."""
    drawn = data.draw(st.lists(st.tuples(DRAWN_EVENTS, st.sampled_from("uvvw")), min_size=1, max_size=data.draw(SIZES)))
    events = [
        Event(f"e{n}", "u", "s", f"i{which}", kind, NOW_S + offset, dwell_ms=dwell)
        for n, ((kind, which, offset, dwell), _) in enumerate(drawn)
    ]
    pages = [shown(f"i{n}", ranking=f"r{n}", shown_s=NOW_S - n) for n in range(data.draw(st.integers(0, 4)))]
    apart, together = uuid.uuid4().hex, uuid.uuid4().hex
    merged_at = {who: data.draw(st.integers(0, len(drawn))) for who in "vw"}
    for n, (event, (_, who)) in enumerate(zip(events, drawn, strict=True)):
        for visitor, at in merged_at.items():
            if at == n:
                store.merge(apart, visitor, "u")
        # Categories change between events: a count belongs to the category at that time.
        items = [replace(ITEMS[int(event.item_id[1:])], category=("Shoes", "Lamps")[n % 5 == 0])]
        record(store, apart, [event if who == "u" else of_visitor(event, who)], items)
        record(store, together, [event], items)
    for n, page in enumerate(pages):
        of_v = replace(page, ranking=replace(page.ranking, user_id="", visitor_id="v"))
        store.record_impressions(apart, [of_v if n % 2 else page])
        store.record_impressions(together, [page])
    for visitor in "vw":
        store.merge(apart, visitor, "u")
    for person in (USER, VISITOR, person_key("", "w")):
        known = store.user_history(apart, person)
        assert profile_bytes(known) == profile_bytes(store.user_history(together, USER))
    keys = [item_key(f"i{n}") for n in range(6)] + [category_key("Shoes"), category_key("Lamps")]
    assert store.rebuys(apart, keys) == store.rebuys(together, keys)
    logs = [
        (
            [event.event_id for _, event in store.events_after(tenant, 0, 999, USER)],
            [page.key for _, page in store.impressions_after(tenant, 0, 999, USER)],
        )
        for tenant in (apart, together)
    ]
    assert logs[0] == logs[1]


def test_a_merge_is_done_once(store: ProfileStore) -> None:
    """A merge returns what it moved, a repeat (0, 0); the visitor's later events are the user's at once."""
    record(store, "t", [of_visitor(click(n)) for n in range(3)])
    store.record_impressions("t", [shown("a", user="", visitor="v")])
    assert store.merge("t", "v", "u") == (3, 1)
    assert store.merge("t", "v", "u") == (0, 0)
    record(store, "t", [of_visitor(click(7))])
    store.record_impressions("t", [shown("b", user="", visitor="v", ranking="q")])
    assert [entry.event_id for entry in recent(store)] == ["e7", "e2", "e1", "e0"]
    assert len(store.impressions_after("t", 0, 9, USER)) == 2
    assert store.persons("t", [USER, VISITOR, OTHER]) == {
        USER: (USER, VISITOR), VISITOR: (USER, VISITOR), OTHER: (OTHER,),
    }  # fmt: skip


def test_a_visitor_is_merged_into_one_user(store: ProfileStore) -> None:
    """A merge into a second user is rejected and changes nothing; other tenants' visitors are separate."""
    record(store, "t", [of_visitor(click(1))])
    store.merge("t", "v", "u")
    with pytest.raises(Conflict, match="another user"):
        store.merge("t", "v", "other")
    assert len(recent(store)) == 1
    assert not recent(store, person=OTHER)
    assert store.merge("other tenant", "v", "other") == (0, 0)


def test_a_deletion_covers_merged_visitors(store: ProfileStore) -> None:
    """Events of the user and the merged visitors are deleted; the visitor's later events are a new visitor's."""
    now = time.time()
    record(store, "t", [click(1), of_visitor(click(2))], [item("i1")])
    store.merge("t", "v", "u")
    store.record_impressions("t", [shown("a", user="", visitor="v")])
    assert store.delete_person("t", VISITOR) == (2, 1)
    assert not store.events_after("t", 0, 99)
    assert not store.impressions_after("t", 0, 99)
    assert store.persons("t", [VISITOR]) == {VISITOR: (VISITOR,)}
    late = of_visitor(Event("e3", "", "s", "i1", EventType.CLICK, now - 60))
    fresh = of_visitor(Event("e4", "", "s", "i1", EventType.CLICK, time.time() + 1))
    assert record(store, "t", [late, fresh]) == 1
    assert not recent(store)
    assert [entry.event_id for entry in recent(store, person=VISITOR)] == ["e4"]


def test_features_from_before_a_deletion_are_skipped(store: ProfileStore) -> None:
    """A page shown after a deletion is skipped if its ranking was made before the deletion."""
    before = made_ranking("a", ranked_s=time.time() - 5)
    store.delete_person("t", USER)
    page = Impressions(before, (1,), time.time() + 1)
    assert store.record_impressions("t", [page], whole=[before]) == 0
    assert store.whole_rankings_after("t", 0, 9) == []


def test_sqlite_of_another_layout_is_rejected(tmp_path: Path) -> None:
    """A file of an earlier or later version is rejected unchanged, and the error names the remedy."""
    SqliteProfileStore(tmp_path).close()
    for version in (0, OLDEST - 1, VERSION + 1):
        with closing(sqlite3.connect(tmp_path / PROFILES_FILE)) as db:
            db.execute(f"PRAGMA user_version={version}")
        with pytest.raises(InvalidArgument, match=r"Move the file away.*kairos events import"):
            SqliteProfileStore(tmp_path)
        with closing(sqlite3.connect(tmp_path / PROFILES_FILE)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (version,)


def test_redis_of_another_layout_is_rejected(redis_server: RedisServer) -> None:
    """Redis with an earlier or later layout is rejected, and the error names the remedy."""
    client = redis_server.client()
    client.flushall()
    client.set("kairos:{shop}:events:last", 7)
    with pytest.raises(InvalidArgument, match=r"before 4. Use an empty Redis"):
        RedisProfileStore(client)
    client.flushall()
    # Another service stores its own keys there.
    client.set("kairos:{shop}:lexicon:version", 7)
    store = RedisProfileStore(client)
    assert record(store, "t", [click(1)]) == 1
    client.set("kairos:ranker:layout", LAYOUT + 1)
    with pytest.raises(InvalidArgument, match=rf"layout {LAYOUT + 1}, .* 4 to {LAYOUT}. Use an empty Redis"):
        RedisProfileStore(client)


def test_redis_is_checked_when_it_is_back(redis_server: RedisServer) -> None:
    """A store that started without Redis rejects an earlier layout at the first call that reaches Redis."""
    redis_server.client().flushall()
    redis_server.client().set("kairos:{shop}:events:last", 7)
    redis_server.kill()
    store = RedisProfileStore(redis_server.client())
    with pytest.raises(Unavailable):
        recent(store)
    redis_server.start()
    with pytest.raises(InvalidArgument, match="before 4"):
        recent(store)
