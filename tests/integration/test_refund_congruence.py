"""What a refund undoes in a profile store, the same in SQLite and in a real Redis."""

from __future__ import annotations

import math
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.money import Money
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_schema import OLDEST, PROFILES_FILE, VERSION
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.domain.person import person_key
from services.ranker.domain.profile import build_profile
from services.ranker.domain.repurchase import category_key, item_key
from services.ranker.domain.user_history import LASTING, lasting_weights
from services.ranker.ports import LogBound, ProfileStore, Retention
from tests.integration.redis_server import RedisServer

NOW_S, DAY_S = 1_800_000_000.0, 86_400.0
USER, VISITOR = person_key("u", ""), person_key("", "v")
CLICK, CART, PURCHASE, REFUND = EventType.CLICK, EventType.CART, EventType.PURCHASE, EventType.REFUND
KEYS = [*(item_key(f"i{n}") for n in range(3)), category_key("Shoes")]
ITEMS = [ItemFeatures(f"i{n}", np.eye(4, dtype=np.float32)[n], "m@1", 5.0, "Shoes", "B") for n in range(3)]
BLUE = ItemFeatures("blue", None, "m@1", 5.0, "Shoes", "B", "shoe")
RED = replace(BLUE, item_id="red")

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


def event(id: str, kind: EventType, at_s: float, item: str = "i0", order: str = "", **more: object) -> Event:
    return replace(Event(id, "u", "s", item, kind, NOW_S + at_s, order_id=order), **more)  # type: ignore[arg-type]


def record(store: ProfileStore, events: Sequence[Event], items: Sequence[ItemFeatures] = (), tenant: str = "t") -> int:
    (recorded,) = store.record([Batch(tenant, events, items)])
    return len(recorded)


def is_as(store: ProfileStore, tenant: str, other: str) -> bool:
    """Whether all that is made of the events of two tenants is the same."""
    made = []
    for each in (tenant, other):
        known = store.user_history(each, USER)
        ids = [[entry.event_id for entry in entries] for entries in (known.recent, known.lasting, known.purchases)]
        weights = build_profile(known, "m@1", 4, NOW_S).weights.tolist()
        made.append((ids, weights, store.rebuys(each, KEYS)))
    counts = [store.popularity(each, ["i0", "i1", "i2"], NOW_S) for each in (tenant, other)]
    return made[0] == made[1] and counts[0] == pytest.approx(counts[1], rel=1e-6, abs=1e-7)


def test_an_undone_purchase_leaves_nothing(store: ProfileStore) -> None:
    """History, popularity and buyers are as if the purchase had not been; the click and the cart count as before."""
    before = [event("c", CLICK, 0), event("k", CART, 1)]
    record(store, before, ITEMS, "without")
    record(store, [*before, event("p", PURCHASE, 2), event("r", REFUND, 3)], ITEMS)
    assert is_as(store, "t", "without")
    assert [each.event_id for _, each in store.events_after("t", 0, 9)] == ["c", "k", "p", "r"]


def test_a_first_purchase_that_is_undone(store: ProfileStore) -> None:
    """The person was no buyer, and the item has no popularity and is in no list of popular items."""
    record(store, [event("p", PURCHASE, 0)], ITEMS)
    assert store.popular("t", "", 9, NOW_S) != []
    record(store, [event("r", EventType.CANCELLATION, 1)])
    assert store.rebuys("t", KEYS) == {}
    assert store.popularity("t", ["i0"], NOW_S) == [0]
    assert store.popular("t", "", 9, NOW_S) == []


def test_other_purchases_stay(store: ProfileStore) -> None:
    """Of two purchases on one day one is undone: the day, the buyer and the popularity stay. A second day is taken."""
    record(store, [event("p", PURCHASE, 0, order="a"), event("q", PURCHASE, 1, order="b")], ITEMS)
    record(store, [event("r", REFUND, 2, order="a")])
    assert store.rebuys("t", KEYS) == {item_key("i0"): (1, 0), category_key("Shoes"): (1, 0)}
    assert store.popularity("t", ["i0"], NOW_S) == pytest.approx([6], rel=0.01)
    record(store, [event("d", PURCHASE, 3 * DAY_S, order="c")], ITEMS)
    assert store.rebuys("t", KEYS)[item_key("i0")] == (1, 1)
    record(store, [event("r2", REFUND, 4 * DAY_S, order="c")])
    assert store.rebuys("t", KEYS) == {item_key("i0"): (1, 0), category_key("Shoes"): (1, 0)}


def test_a_refund_that_is_sent_again(store: ProfileStore) -> None:
    """A refund counts once by its event id: the purchase before the undone one stays."""
    record(store, [event("p", PURCHASE, 0), event("q", PURCHASE, DAY_S), event("r", REFUND, 2 * DAY_S)], ITEMS)
    assert record(store, [event("r", REFUND, 3 * DAY_S)]) == 0
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["p"]


def test_a_refund_before_its_purchase_survives_a_restart(reopen: Reopen) -> None:
    """The purchase of a refunded order, which arrives after a restart, counts nowhere."""
    record(reopen(), [event("r", REFUND, 5, order="o")], ITEMS)
    store = reopen()
    record(store, [event("p", PURCHASE, 2, order="o")], ITEMS)
    assert store.user_history("t", USER).purchases == []
    assert store.rebuys("t", KEYS) == {}
    assert store.popularity("t", ["i0"], NOW_S) == [0]


def test_a_late_purchase_takes_the_refund(store: ProfileStore) -> None:
    """Without an order the latest purchase before the refund is undone: one that arrives late frees the earlier one."""
    record(store, [event("p", PURCHASE, 0), event("r", REFUND, 9 * DAY_S)], ITEMS)
    assert store.rebuys("t", KEYS) == {}
    record(store, [event("late", PURCHASE, DAY_S)], ITEMS)
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["p"]
    assert store.rebuys("t", KEYS)[item_key("i0")] == (1, 0)
    assert store.popularity("t", ["i0"], NOW_S) == pytest.approx([6], rel=0.01)


def test_the_user_gives_back_what_the_visitor_bought(store: ProfileStore) -> None:
    """Before and after the merge a refund of the user undoes the visitor's purchase."""
    of_visitor = {"user_id": "", "visitor_id": "v"}
    bought = [event("p", PURCHASE, 0, order="o", **of_visitor), event("q", PURCHASE, 1, "i1", **of_visitor)]
    record(store, [*bought, event("r", REFUND, 2, order="o")], ITEMS)
    assert store.popularity("t", ["i0", "i1"], NOW_S) == pytest.approx([6, 6], rel=0.01)
    store.merge("t", "v", "u")
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["q"]
    # The next event on the item shows it: its popularity may be held in memory.
    record(store, [event("other", CLICK, 2, user_id="w")])
    assert store.popularity("t", ["i0", "i2"], NOW_S) == pytest.approx([1, 0], rel=0.01)
    record(store, [event("r2", REFUND, 3, "i1")])
    assert store.user_history("t", USER).purchases == []
    assert store.rebuys("t", KEYS) == {}


def test_a_deleted_person_leaves_no_refund(store: ProfileStore) -> None:
    """After a deletion a new purchase of the same order number counts."""
    record(store, [event("r", REFUND, 0, order="o")])
    store.delete_person("t", USER)
    record(store, [event("p", PURCHASE, 10**9, order="o")], ITEMS)
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["p"]


def test_a_refund_leaves_with_its_time(store: ProfileStore) -> None:
    """Retention removes purchases and their refunds; a later purchase is not undone by a removed refund."""
    record(store, [event("p", PURCHASE, -9 * DAY_S, order="o"), event("r", REFUND, -8 * DAY_S, order="o")], ITEMS)
    bound = LogBound(5 * DAY_S, 99)
    assert sum(store.trim(Retention(bound, bound, bound), NOW_S)) >= 2
    assert store.events_after("t", 0, 9) == []
    record(store, [event("q", PURCHASE, 0, order="o")], ITEMS)
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["q"]


def test_a_full_sample_keeps_its_weights(store: ProfileStore) -> None:
    """Without an undone purchase in a full sample the weights of the other events are as before."""
    clicks = [event(f"c{n}", CLICK, -n * DAY_S, f"i{1 + n % 2}") for n in range(3 * LASTING)]
    record(store, [*clicks, event("p", PURCHASE, -DAY_S / 2)], ITEMS)
    full = store.user_history("t", USER)
    record(store, [event("r", REFUND, 0)])
    left = store.user_history("t", USER)
    before, after = (
        {entry.event_id: weight for entry, weight in zip(known.lasting, lasting_weights(known, NOW_S), strict=True)}
        for known in (full, left)
    )
    assert before.pop("p") > 0
    assert after == before


def test_what_was_paid_is_kept(store: ProfileStore) -> None:
    """Price, currency, quantity, order and quote of an event come back from the log as they were sent."""
    paid = Money("KWD", Decimal("12.345"))
    events = [
        event("p", PURCHASE, 0, order="o", price=paid, quantity=3, quote_id="q"),
        event("r", REFUND, 1, order="o", quantity=0),
    ]
    record(store, events)
    assert [each for _, each in store.events_after("t", 0, 9)] == events


ORDERS = st.sampled_from(["", "", "a", "b"])
DRAWN = st.tuples(
    st.sampled_from([CLICK, CART, PURCHASE, PURCHASE, REFUND]), st.integers(0, 2), st.integers(-9, 0), ORDERS,
    st.integers(0, 2),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DRAWN, min_size=1, max_size=14), st.data())
def test_any_order_of_arrival_is_the_same(
    store: ProfileStore, drawn: list[tuple[EventType, int, int, str, int]], data: st.DataObject
) -> None:
    """Purchases and refunds in any order, in any parts, before and after a merge, lead to the same counts."""
    events = [
        event(f"e{n}", kind, days * DAY_S, f"i{which}", order, quantity=pieces if kind is REFUND else pieces or 1,
              **({"user_id": "", "visitor_id": "v"} if n % 2 else {}))
        for n, (kind, which, days, order, pieces) in enumerate(drawn)
    ]  # fmt: skip
    ordered, shuffled = uuid.uuid4().hex, uuid.uuid4().hex
    for tenant in (ordered, shuffled):
        store.merge(tenant, "v", "u")
    record(store, sorted(events, key=lambda each: each.occurred_s), ITEMS, ordered)
    arrived = data.draw(st.permutations(events))
    cut = data.draw(st.integers(0, len(arrived)))
    for part in (arrived[:cut], arrived[cut:]):
        record(store, part, ITEMS, shuffled)
    assert is_as(store, shuffled, ordered)


def test_a_group_shares_its_popularity(store: ProfileStore) -> None:
    """Each person counts once for a group; its item of most weight stands for it, and a refund takes its own part."""
    record(store, [event("c", CLICK, 0, "blue"), event("p", PURCHASE, 1, "red")], [BLUE, RED])
    record(store, [event("w", CLICK, 2, "blue", user_id="w"), event("x", CART, 2, "i0", user_id="w")], [BLUE, *ITEMS])
    assert store.popularity("t", ["shoe", "red", "blue", "i0"], NOW_S) == pytest.approx([7, 0, 0, 3], rel=0.01)
    assert [name for name, _ in store.popular("t", "", 9, NOW_S)] == ["red", "i0"]
    assert [name for name, _ in store.popular("t", "Shoes", 9, NOW_S)] == ["red", "i0"]
    record(store, [event("r", REFUND, 3, "red")])
    assert store.popularity("t", ["shoe"], NOW_S) == pytest.approx([2], rel=0.01)
    assert [name for name, _ in store.popular("t", "", 9, NOW_S)] == ["i0", "blue"]


def test_popularity_from_before_the_group_was_known(store: ProfileStore) -> None:
    """What an item had before its group was known becomes the group's with the next event; an empty id changes none."""
    record(store, [event("p", PURCHASE, 0, "blue")], [replace(BLUE, group_id="")])
    assert store.popularity("t", ["blue"], NOW_S) == pytest.approx([6], rel=0.01)
    record(store, [event("w", CLICK, 0, "red", user_id="w"), event("x", CLICK, 0, "blue", user_id="w")], [RED, BLUE])
    record(store, [event("y", CLICK, 0, "blue", user_id="y")], [replace(BLUE, group_id="")])
    assert store.popularity("t", ["shoe"], NOW_S) == pytest.approx([8], rel=0.01)
    assert store.items("t", ["blue"])["blue"].group_id == "shoe"
    assert [name for name, _ in store.popular("t", "", 9, NOW_S)] == ["blue"]


def test_tables_of_the_version_before_are_read(tmp_path: Path) -> None:
    """A file of the oldest readable version is brought up to date: its events, popularity and purchases stay."""
    SqliteProfileStore(tmp_path).close()
    mass, day = math.log2(6) + NOW_S / (7 * DAY_S), int(NOW_S // DAY_S)
    added = ["item group_id"]
    names = ("order_id", "quote_id", "currency", "paid_units", "paid_nanos", "category", "feedback")
    added += [f"event {name}" for name in names]
    statements = [
        "DROP TABLE variant_popularity",
        "DROP TABLE history_revision",
        *(f"DROP TRIGGER item_{change}" for change in ("added", "changed", "removed")),
        *(f"DROP TRIGGER {table}_removed" for table in ("event", "impressions", "merged")),
        "DROP INDEX refunds",
        *(f"ALTER TABLE {table} DROP COLUMN {column}" for table, column in map(str.split, added)),
        f"INSERT INTO event VALUES (1, 't', 'old', '{USER}', 'u', '', 's', 'i0', 'purchase', {NOW_S}, '', '', 1, 0, "
        f"{NOW_S}, NULL, 40.0)",
        f"INSERT INTO popularity VALUES ('t', 'i0', {mass!r})",
        f"INSERT INTO popularity_share VALUES ('t', '{USER}', 'i0', {mass!r})",
        f"INSERT INTO bought VALUES ('t', '{USER}', 'i0', {day}, 1, 'Shoes')",
        "INSERT INTO rebuy VALUES ('t', 'item:i0', 1, 0), ('t', 'category:Shoes', 1, 0)",
        f"PRAGMA user_version={OLDEST}",
    ]
    with closing(sqlite3.connect(tmp_path / PROFILES_FILE)) as db:
        db.executescript(";".join(statements))
    store = SqliteProfileStore(tmp_path)
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["old"]
    assert store.popularity("t", ["i0"], NOW_S) == pytest.approx([6])
    record(store, [event("r", REFUND, 1)], ITEMS)
    assert store.user_history("t", USER).purchases == []
    assert (store.popularity("t", ["i0"], NOW_S), store.rebuys("t", KEYS)) == ([0], {})
    with closing(sqlite3.connect(tmp_path / PROFILES_FILE)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_tables_without_feedback_are_read(tmp_path: Path) -> None:
    """A file of version 5 gets the column, and its events stay."""
    before = SqliteProfileStore(tmp_path)
    record(before, [event("p", PURCHASE, 0)], ITEMS)
    before.close()
    with closing(sqlite3.connect(tmp_path / PROFILES_FILE)) as db:
        db.executescript("ALTER TABLE event DROP COLUMN feedback; PRAGMA user_version=5")
    store = SqliteProfileStore(tmp_path)
    assert [one.event_id for _, one in store.events_after("t", 0, 10)] == ["p"]
    record(store, [event("r", REFUND, 1)], ITEMS)
    assert store.user_history("t", USER).purchases == []


def test_keys_of_the_layout_before_are_read(redis_server: RedisServer) -> None:
    """Members and entries that an earlier Kairos wrote lack order and quantity: a refund undoes such a purchase."""
    client = redis_server.client()
    client.flushall()
    client.set("kairos:ranker:layout", 4)
    client.set("kairos:{t}:events:last", 1)
    own = "kairos:{t}:person:" + USER + ":"
    member = f'old\0["i0","s","purchase",{NOW_S},0,"",5.0]'
    for name, score in (("recent", NOW_S), ("purchases", NOW_S), ("lasting", 40.0)):
        client.zadd(own + name, {member: score})
    client.xadd("kairos:{t}:events", {"mark": "old", "event": f'{{"event_id":"old","user_id":"u","session_id":"s",'
                f'"item_id":"i0","type":"purchase","occurred_s":{NOW_S}}}'}, id="1-0")  # fmt: skip
    store = RedisProfileStore(client)
    assert [entry.event_id for entry in store.user_history("t", USER).purchases] == ["old"]
    assert [each.order_id for _, each in store.events_after("t", 0, 9)] == [""]
    record(store, [event("r", REFUND, 1)], ITEMS)
    assert store.user_history("t", USER).purchases == []
    assert client.get("kairos:ranker:layout") == b"5"
