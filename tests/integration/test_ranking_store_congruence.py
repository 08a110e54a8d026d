"""One suite for both ranking stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.ranker.adapters.redis_ranking_store import RedisRankingStore
from services.ranker.adapters.sqlite_ranking_store import SqliteRankingStore
from services.ranker.domain.event import EventType
from services.ranker.domain.session import RECENT, SessionEvent, SessionMove
from services.ranker.ports import RankingLimits, RankingStore
from tests.integration.redis_server import RedisServer
from tests.unit.ranker.rankings import made_ranking, same

STEP = 0.4
USER, OTHER = "user:u", "user:other"
LIMITS = RankingLimits(ranking_ttl_s=600, rankings=100, session_ttl_s=1_800, sessions=100)

Open = Callable[..., RankingStore]


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the store, as one replica of several does."""
    if request.param == "sqlite":
        return lambda **limits: SqliteRankingStore(tmp_path, replace(LIMITS, **limits), STEP)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return lambda **limits: RedisRankingStore(server.client(), replace(LIMITS, **limits), STEP)


def move(*vectors: tuple[float, float], session: str = "s", person: str = USER, version: str = "m@1") -> SessionMove:
    return SessionMove("t", session, person, version, np.array(vectors, np.float32), time.time())


def acting(*events: SessionEvent) -> SessionMove:
    return SessionMove("t", "s", USER, "", np.zeros((0, 0), np.float32), time.time(), events)


def test_a_ranking_comes_back(open_store: Open) -> None:
    """Every replica reads the ranking as it was stored, to the last bit; with features and without."""
    store, replica = open_store(), open_store()
    rankings = [made_ranking("a", "b", "c", ranking=f"r{n}", features=n == 0) for n in range(2)]
    store.store([("t", ranking) for ranking in rankings])
    for ranking in rankings:
        assert same(replica.ranking("t", ranking.ranking_id), ranking)
    assert replica.ranking("t", "r9") is None
    assert replica.ranking("other tenant", "r0") is None


def test_the_last_ranking_under_an_id_counts(open_store: Open) -> None:
    """A ranking that is stored again replaces the one before."""
    store = open_store()
    for seed in range(2):
        store.store([("t", made_ranking("a", seed=seed))])
    assert same(store.ranking("t", "r"), made_ranking("a", seed=1))


def test_rankings_expire(open_store: Open) -> None:
    """After its time to live a ranking is not found, and no more after the removal of expired rows."""
    store = open_store(ranking_ttl_s=0.2)
    store.store([("t", made_ranking("a"))])
    assert store.ranking("t", "r") is not None
    time.sleep(0.25)  # the time to live
    assert store.ranking("t", "r") is None
    store.remove_expired()
    store.store([("t", made_ranking("a", ranking="q"))])
    assert store.ranking("t", "q") is not None


def test_the_oldest_rankings_leave(open_store: Open) -> None:
    """Beyond the bound of a tenant the oldest are removed; another tenant's are not counted."""
    store = open_store(rankings=3)
    store.store([("other", made_ranking("a", ranking=f"r{n}")) for n in range(3)])
    for n in range(5):
        store.store([("t", made_ranking("a", ranking=f"r{n}"))])
        time.sleep(0.002)  # a clock that counts milliseconds tells them apart
    assert [store.ranking("t", f"r{n}") is not None for n in range(5)] == [False, False, True, True, True]
    assert store.ranking("other", "r0") is not None


def test_a_session_follows_its_moves(open_store: Open) -> None:
    """Each vector moves the context a step; every replica continues where another one stopped."""
    store, replica = open_store(), open_store()
    assert store.session("t", "s") is None
    store.move_sessions([move((1, 0))])
    replica.move_sessions([move((0, 1))])
    store.move_sessions([move((0, 0), (0, 1)), move((1, 0), session="other")])
    expected = np.array([0.6, 0.4]) / np.hypot(0.6, 0.4)
    expected = 0.6 * expected + [0, 0.4]
    found = replica.session("t", "s")
    assert found is not None
    assert found.model_version == "m@1"
    np.testing.assert_allclose(found.vector, expected / np.linalg.norm(expected), atol=1e-6)
    other = replica.session("t", "other")
    assert other is not None
    np.testing.assert_allclose(other.vector, [1, 0])


def test_a_session_without_a_vector_is_unknown(open_store: Open) -> None:
    """A zero vector starts no session."""
    store = open_store()
    store.move_sessions([move((0, 0))])
    assert store.session("t", "s") is None


def test_a_session_keeps_its_last_events(open_store: Open) -> None:
    """The newest events of all moves, in the order in which they happened; also without a vector."""
    store, replica = open_store(), open_store()
    events = [SessionEvent(f"i{n}", EventType.CLICK, 1_000.0 + n) for n in range(RECENT + 2)]
    store.move_sessions([acting(*events[1::2])])
    replica.move_sessions([acting(SessionEvent("", EventType.SEARCH, 5_000.0, "warm boots"), *events[::2])])
    found = store.session("t", "s")
    assert found is not None
    assert not len(found.vector)
    assert found.recent[0] == SessionEvent("", EventType.SEARCH, 5_000.0, "warm boots")
    assert list(found.recent[1:]) == events[:-RECENT:-1]
    replica.move_sessions([move((1, 0))])
    moved_on = store.session("t", "s")
    assert moved_on is not None
    assert moved_on.recent == found.recent
    np.testing.assert_allclose(moved_on.vector, [1, 0])


def test_sessions_expire(open_store: Open) -> None:
    """A session lives from its last move on; what comes after its end starts a new one."""
    store = open_store(session_ttl_s=0.3)
    store.move_sessions([move((1, 0))])
    time.sleep(0.2)  # less than the time to live
    store.move_sessions([move((1, 0))])
    time.sleep(0.2)  # more than that since the first move
    assert store.session("t", "s") is not None
    time.sleep(0.2)  # more than that since the last one
    assert store.session("t", "s") is None
    store.move_sessions([move((0, 1))])
    found = store.session("t", "s")
    assert found is not None
    np.testing.assert_allclose(found.vector, [0, 1])


def test_the_oldest_sessions_leave(open_store: Open) -> None:
    """Beyond the bound the sessions leave that were moved longest ago."""
    store = open_store(sessions=2)
    for session in ("a", "b", "a", "c"):
        store.move_sessions([move((1, 0), session=session)])
        time.sleep(0.002)  # a clock that counts milliseconds tells them apart
    assert [store.session("t", session) is not None for session in "abc"] == [True, False, True]


def test_a_deletion_covers_rankings_and_sessions(open_store: Open) -> None:
    """Rankings and sessions of the persons are gone, others' are not; the number is that of the rankings."""
    store = open_store()
    store.store([("t", made_ranking("a", ranking=f"r{n}")) for n in range(2)])
    store.store([("t", made_ranking("a", ranking="of visitor", user="", visitor="v"))])
    store.store([("t", made_ranking("a", ranking="of other", user="other"))])
    store.move_sessions([move((1, 0)), move((1, 0), session="theirs", person=OTHER)])
    assert store.delete_persons("t", [USER, "visitor:v"]) == 3
    assert [store.ranking("t", id) for id in ("r0", "r1", "of visitor")] == [None] * 3
    assert store.session("t", "s") is None
    assert store.ranking("t", "of other") is not None
    assert store.session("t", "theirs") is not None
    assert store.delete_persons("t", [USER]) == 0


def test_late_writes_do_not_bring_a_person_back(open_store: Open) -> None:
    """What was ranked or moved before the person was deleted is not stored afterwards; what comes later is."""
    store = open_store()
    before = made_ranking("a", ranking="before", ranked_s=time.time() - 1)
    store.delete_persons("t", [USER])
    store.store([("t", before), ("t", made_ranking("a", ranking="after", ranked_s=time.time() + 1))])
    earlier, later = (replace(move((1, 0)), moved_s=time.time() + ahead_s) for ahead_s in (-1, 1))
    store.move_sessions([earlier])
    assert store.session("t", "s") is None
    store.move_sessions([later])
    assert store.session("t", "s") is not None
    assert store.ranking("t", "before") is None
    assert store.ranking("t", "after") is not None


NAME = "somebody-by-name"


def test_no_byte_of_a_deleted_person_stays_in_the_file(tmp_path: Path) -> None:
    """Neither the file nor its log of changes holds the id any more, of expired rankings neither."""
    store = SqliteRankingStore(tmp_path, replace(LIMITS, rankings=20), STEP)
    for n in range(40):
        store.store([("t", made_ranking("a", ranking=f"r{n}", user=NAME))])
    store.move_sessions([move((1, 0), session=f"{NAME}-session", person=f"user:{NAME}")])

    def found() -> list[str]:
        return [file.name for file in tmp_path.iterdir() if NAME.encode() in file.read_bytes()]

    assert found()
    store.delete_persons("t", [f"user:{NAME}"])
    assert found() == []


def test_all_keys_in_redis_expire(redis_server: RedisServer) -> None:
    """Every key of rankings and sessions has a time to live, but the bounded lists of ids."""
    client = redis_server.client()
    client.flushall()
    store = RedisRankingStore(client, LIMITS, STEP)
    store.store([("t", made_ranking("a"))])
    store.move_sessions([move((1, 0))])
    store.delete_persons("t", [OTHER])
    lasting = {key for key in client.scan_iter() if client.ttl(key) < 0}
    assert lasting == {b"kairos:ranker:layout", b"kairos:{t}:kept:rankings", b"kairos:{t}:kept:sessions"}
