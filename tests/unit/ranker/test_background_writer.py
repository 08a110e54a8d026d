"""The queue of rankings and session moves: readable at once, bounded, and written when the ranker stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.common.errors import Unavailable
from services.ranker.background_writer import BackgroundWriter, PendingRanking
from services.ranker.domain.session import SessionContext, SessionMove, moved
from services.ranker.domain.stored_ranking import StoredRanking
from tests.unit.ranker.rankings import made_ranking


@dataclass
class SlowStore:
    """Stores what is written. A write waits until `open` is set, and fails while `is_away`."""

    rankings: dict[str, StoredRanking] = field(default_factory=dict)
    sessions: dict[str, SessionContext] = field(default_factory=dict)
    writes: list[list[str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    is_away: bool = False
    open: threading.Event = field(default_factory=threading.Event)

    def store(self, rankings: Sequence[tuple[str, StoredRanking]]) -> None:
        self._wait()
        self.writes.append([ranking.ranking_id for _, ranking in rankings])
        self.rankings |= {ranking.ranking_id: ranking for _, ranking in rankings}

    def ranking(self, tenant: str, ranking_id: str) -> StoredRanking | None:
        return self.rankings.get(ranking_id)

    def move_sessions(self, moves: Sequence[SessionMove]) -> None:
        self._wait()
        for move in moves:
            context = moved(self.sessions.get(move.session_id), move, 0.4)
            if context is not None:
                self.sessions[move.session_id] = context

    def session(self, tenant: str, session_id: str) -> SessionContext | None:
        return self.sessions.get(session_id)

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        self.deleted += persons
        return 0

    def remove_expired(self) -> None: ...

    def close(self) -> None: ...

    def _wait(self) -> None:
        self.open.wait(10)
        if self.is_away:
            raise Unavailable("the store is away")


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def writer(store: SlowStore) -> Iterator[BackgroundWriter]:
    made = BackgroundWriter(store, capacity=3)
    yield made
    store.open.set()
    made.close()


def pending(ranking_id: str, user: str = "u") -> PendingRanking:
    ranking = made_ranking("a", ranking=ranking_id, user=user)
    return PendingRanking("t", ranking_id, ranking.person, lambda: ranking)


def move(session_id: str = "s", person: str = "user:u") -> SessionMove:
    return SessionMove("t", session_id, person, "m@1", np.array([[1, 0]], np.float32), time.time())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # between two looks


def found(writer: BackgroundWriter, *ranking_ids: str) -> list[bool]:
    return [writer.ranking("t", ranking_id) is not None for ranking_id in ranking_ids]


def test_a_queued_ranking_is_readable(writer: BackgroundWriter, store: SlowStore) -> None:
    """A ranking is read from the queue until it is written, then from the store; only by its own tenant."""
    writer.put(pending("r"))
    assert found(writer, "r", "q") == [True, False]
    assert writer.ranking("other", "r") is None
    store.open.set()
    until(lambda: store.writes == [["r"]])
    assert found(writer, "r") == [True]


def test_the_oldest_are_dropped_and_counted(writer: BackgroundWriter, store: SlowStore) -> None:
    """Beyond the capacity the oldest ranking is dropped, and `dropped` counts it."""
    for n in range(5):
        writer.put(pending(f"r{n}"))
    assert found(writer, *(f"r{n}" for n in range(5))) == [False, False, True, True, True]
    assert writer.dropped == 2


def test_close_writes_the_queue() -> None:
    """After close, the store holds everything that was queued."""
    store = SlowStore()
    store.open.set()
    writer = BackgroundWriter(store, capacity=100)
    for n in range(80):
        writer.put(pending(f"r{n}"))
    writer.move([move()])
    writer.close()
    assert sorted(store.rankings) == sorted(f"r{n}" for n in range(80))
    assert "s" in store.sessions


def test_rankings_wait_for_the_store(writer: BackgroundWriter, store: SlowStore) -> None:
    """While the store is unavailable rankings stay readable; they are written when it is available again."""
    store.is_away = True
    store.open.set()
    writer.put(pending("r"))
    assert found(writer, "r") == [True]
    store.is_away = False
    until(lambda: "r" in store.rankings)


def test_close_does_not_wait_for_an_unavailable_store(store: SlowStore) -> None:
    """A ranker stops although its store is unavailable; the queued writes are lost."""
    store.is_away = True
    store.open.set()
    writer = BackgroundWriter(store, capacity=3)
    writer.put(pending("r"))
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 5


def test_a_ranking_that_cannot_be_computed_is_skipped(writer: BackgroundWriter, store: SlowStore) -> None:
    """A ranking that raises an error does not prevent the writes of later rankings."""

    def fails() -> StoredRanking:
        raise ValueError("no such feature")

    writer.put(PendingRanking("t", "bad", "", fails))
    writer.put(pending("r"))
    store.open.set()
    until(lambda: "r" in store.rankings)


def test_a_reader_of_a_session_waits_for_its_moves(writer: BackgroundWriter, store: SlowStore) -> None:
    """A session is read after its own queued moves were written, without waiting for other sessions' moves."""
    writer.move([move()])
    began = time.monotonic()
    assert writer.session("t", "other") is None
    assert time.monotonic() - began < 0.2
    threading.Timer(0.05, store.open.set).start()
    context = writer.session("t", "s")
    assert context is not None
    np.testing.assert_array_equal(context.vector, [1, 0])


def test_a_failed_move_does_not_block_readers(writer: BackgroundWriter, store: SlowStore) -> None:
    """If a move cannot be written, readers of the session do not wait for it."""
    store.is_away = True
    store.open.set()
    writer.move([move()])
    began = time.monotonic()
    assert writer.session("t", "s") is None
    assert time.monotonic() - began < 0.4


def test_a_deletion_covers_the_queue(writer: BackgroundWriter, store: SlowStore) -> None:
    """A person's queued rankings and moves are dropped, others' are kept, and the store deletes its own rows."""
    for ranking in (pending("r0"), pending("r1", user="other")):
        writer.put(ranking)
    writer.move([move(), move("theirs", person="user:other")])
    writer.delete_persons("t", ["user:u"])
    assert found(writer, "r0", "r1") == [False, True]
    assert store.deleted == ["user:u"]
    store.open.set()
    assert writer.session("t", "theirs") is not None
