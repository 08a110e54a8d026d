"""Histories that a store keeps after it has read them: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest

from services.common.errors import Conflict
from services.ranker.adapters.history_cache import HistoryCache, Read
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import person_key
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import LogBound, ProfileStore, Retention
from tests.integration.redis_server import RedisServer
from tests.unit.ranker.rankings import made_ranking

Open = Callable[[], ProfileStore]
USERS, VISITORS = ("u", "w"), ("v", "x")
PERSONS = [*(person_key(user, "") for user in USERS), *(person_key("", visitor) for visitor in VISITORS)]


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one more store object on the same data, as another replica does."""
    if request.param == "sqlite":
        return lambda: SqliteProfileStore(tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return lambda: RedisProfileStore(server.client())


def features(random: Random) -> ItemFeatures:
    vector = np.array([random.choice((0, 1)), 1], np.float32)
    group = random.choice(("", "", "g"))
    return ItemFeatures(f"i{random.randrange(6)}", vector, "m@1", random.choice((5.0, 9.0)), "Shoes", "B", group)


def write(store: ProfileStore, random: Random, number: int) -> None:
    """One random write: mostly an event or a page, now and then a merge, a deletion, or a turn of retention."""
    user, visitor = random.choice((*USERS, "")), random.choice(VISITORS)
    ids = (user, "") if user else ("", visitor)
    moment_s = time.time() + random.randrange(-4_000, 1)
    kind = random.choice(["event"] * 8 + ["page"] * 4 + ["again", "merge", "delete", "trim", "items"])
    if kind in ("event", "again"):
        at = number if kind == "event" else random.randrange(number + 1)
        event = Event(
            f"e{at}",
            ids[0],
            "s",
            f"i{random.randrange(6)}",
            random.choice(list(EventType)),
            moment_s,
            visitor_id=ids[1],
        )
        store.record([Batch("t", [event], [features(random)] if random.random() < 0.3 else [])])
    elif kind == "page":
        made = made_ranking("i1", "i2", ranking=f"r{number}", user=ids[0], visitor=ids[1], ranked_s=moment_s)
        store.record_impressions("t", [Impressions(made, (1, 2), moment_s)])
    elif kind == "items":
        store.record_impressions("t", [], [features(random)])
    elif kind == "merge":
        with suppress(Conflict):
            store.merge("t", visitor, random.choice(USERS))
    elif kind == "delete":
        store.delete_person("t", random.choice(PERSONS))
    else:
        some, everything = LogBound(random.choice((2_000, 10_000)), random.choice((15, 40))), LogBound(1e9, 1_000)
        events, pages = random.choice(((some, everything), (everything, some)))
        for _ in store.trim(Retention(events, pages, everything), time.time()):
            pass


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_equals_what_is_stored(opened: Open, seed: int) -> None:
    """After every write of any of two replicas, both read what a third one reads that has kept nothing."""
    random, replicas = Random(seed), (opened(), opened())
    for number in range(150):
        write(random.choice(replicas), random, number)
        fresh = opened()
        for person in random.sample(PERSONS, 2):
            expected = repr(fresh.user_history("t", person))
            assert [repr(replica.user_history("t", person)) for replica in replicas] == [expected] * 2
        if isinstance(fresh, SqliteProfileStore):
            fresh.close()


def test_an_unchanged_history_is_read_once(opened: Open) -> None:
    """Also after writes that concern other persons and no item's features."""
    store, other = opened(), opened()
    item = ItemFeatures("i1", None, "", 9.0, "Shoes", "B")
    store.record([Batch("t", [Event("e1", "u", "s", "i1", EventType.CLICK, time.time())], [item])])
    first = store.user_history("t", PERSONS[0])
    other.record([Batch("t", [Event("e2", "w", "s", "i1", EventType.CLICK, time.time())], [item])])
    assert store.user_history("t", PERSONS[0]) is first


def history(events: int) -> UserHistory:
    return UserHistory([HistoryEntry("i1", "s", EventType.CLICK, 0.0, 0, None, f"e{n}") for n in range(events)])


def test_kept_histories_are_bounded() -> None:
    """Those that were asked for least lately leave first; one larger than the bound is not kept."""
    cache = HistoryCache(most_bytes=250_000)
    for person in "abcd":
        cache.put("t", person, Read(1, 1, history(40)))
        cache.get("t", "a")
    assert [person for person in "abcd" if cache.get("t", person)] == ["a", "c", "d"]
    assert cache.bytes <= 250_000
    cache.put("t", "e", Read(1, 1, history(400)))
    assert cache.get("t", "e") is None


def test_a_deletion_by_another_replica_leaves_nothing() -> None:
    """A read of anybody of the tenant with a new revision drops all that was kept of the earlier one."""
    cache = HistoryCache()
    gone = history(1)
    references = sys.getrefcount(gone)
    cache.put("t", "deleted", Read(1, 1, gone))
    cache.put("other", "kept", Read(1, 1, history(1)))
    cache.put("t", "somebody", Read(2, 1, history(1)))
    assert cache.get("t", "deleted") is None
    assert cache.get("other", "kept") is not None
    assert sys.getrefcount(gone) == references
