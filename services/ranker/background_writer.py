"""Writes rankings and session moves to the ranking store in the background, off the path of the responses."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice

import structlog

from services.ranker.domain.session import SessionContext, SessionMove
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.ports import RankingStore

# Rankings of one write, and the time in which a group comes together: each transaction costs as much as three rankings.
_GROUP, _GATHER_S = 32, 0.1
_MOST_MOVES = 10_000
# Between two removals of what has expired, and after a failed write.
_TIDY_S, _PAUSE_S = 10.0, 1.0
# The longest that a reader waits for the queued moves of its session.
_WAIT_S = 0.5

_log = structlog.get_logger("kairos.ranker")


class PendingRanking:
    """A ranking that is not stored yet. `make` computes it, with its features, when it is written or read first."""

    def __init__(self, tenant: str, ranking_id: str, person: str, make: Callable[[], StoredRanking]) -> None:
        self.tenant, self.ranking_id, self.person, self._make = tenant, ranking_id, person, make

    @cached_property
    def ranking(self) -> StoredRanking:
        return self._make()


class BackgroundWriter:
    """Writes in groups, in a thread of its own, and reads through what is queued.

    Beyond `capacity` rankings, or _MOST_MOVES session moves, the oldest are dropped, and `dropped` counts them. While
    the store is unavailable rankings stay queued; session moves are lost. `close` writes what is queued.
    """

    def __init__(self, store: RankingStore, capacity: int) -> None:
        self._store, self._capacity = store, capacity
        self._changed = threading.Condition()
        self._rankings: OrderedDict[tuple[str, str], PendingRanking] = OrderedDict()
        self._moves: deque[SessionMove] = deque()
        # Queued or being written, by session.
        self._moving: Counter[tuple[str, str]] = Counter()
        self._is_closing = False
        self.dropped = 0
        self._tidied_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ranking-writer", daemon=True)
        self._thread.start()

    def put(self, pending: PendingRanking) -> None:
        with self._changed:
            self._rankings[pending.tenant, pending.ranking_id] = pending
            while len(self._rankings) > self._capacity:
                self._rankings.popitem(last=False)
                self.dropped += 1
            # The writer sleeps until there is a first one, and then until the group is complete.
            if len(self._rankings) == 1 or len(self._rankings) >= _GROUP:
                self._changed.notify_all()

    def ranking(self, tenant: str, ranking_id: str) -> StoredRanking | None:
        """None if it has expired, or never was."""
        with self._changed:
            pending = self._rankings.get((tenant, ranking_id))
        return self._store.ranking(tenant, ranking_id) if pending is None else pending.ranking

    def move(self, moves: Sequence[SessionMove]) -> None:
        """The moves of one session are applied in the order in which they come."""
        with self._changed:
            for move in moves:
                self._moves.append(move)
                self._moving[move.tenant, move.session_id] += 1
            while len(self._moves) > _MOST_MOVES:
                self._settle([self._moves.popleft()])
                self.dropped += 1
            self._changed.notify_all()

    def session(self, tenant: str, session_id: str) -> SessionContext | None:
        """The context after all moves that were queued before; None for an unknown session."""
        self.wait_for_moves(tenant, session_id)
        return self._store.session(tenant, session_id)

    def wait_for_moves(self, tenant: str, session_id: str) -> None:
        """Returns when the queued moves of the session are written, or after half a second."""
        with self._changed:
            self._changed.wait_for(lambda: not self._moving[tenant, session_id], _WAIT_S)

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        """Removes all rankings and sessions of these persons, queued ones too; how many stored rankings."""
        with self._changed:
            for key, pending in list(self._rankings.items()):
                if pending.tenant == tenant and pending.person in persons:
                    del self._rankings[key]
            gone = [move for move in self._moves if move.tenant == tenant and move.person in persons]
            self._moves = deque(move for move in self._moves if move not in gone)
            self._settle(gone)
        return self._store.delete_persons(tenant, persons)

    def close(self) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing or self._rankings or self._moves, _TIDY_S)
                # A session's next request may wait for its moves; rankings are read from the queue meanwhile.
                self._changed.wait_for(
                    lambda: self._is_closing or self._moves or len(self._rankings) >= _GROUP, _GATHER_S
                )
                moves, self._moves = self._moves, deque()
                group = list(islice(self._rankings.values(), _GROUP))
                if self._is_closing and not moves and not group:
                    return
            if moves:
                self._write_moves(moves)
            if group and not self._write_rankings(group):
                self._pause()
            self._tidy()

    def _write_moves(self, moves: Sequence[SessionMove]) -> None:
        try:
            self._store.move_sessions(moves)
        except Exception as error:
            _log.warning("session moves were lost", count=len(moves), error=str(error))
        with self._changed:
            self._settle(moves)

    def _write_rankings(self, group: Sequence[PendingRanking]) -> bool:
        """Whether they were written; else they stay queued."""
        made = []
        for pending in group:
            try:
                made.append((pending.tenant, pending.ranking))
            except Exception:
                _log.exception("a ranking could not be computed", ranking_id=pending.ranking_id)
        try:
            self._store.store(made)
        except Exception as error:
            _log.warning("rankings wait for the store", count=len(self._rankings), error=str(error))
            return False
        with self._changed:
            for pending in group:
                key = (pending.tenant, pending.ranking_id)
                # It may have been replaced meanwhile, or dropped.
                if self._rankings.get(key) is pending:
                    del self._rankings[key]
        return True

    def _pause(self) -> None:
        with self._changed:
            if self._is_closing:
                # The store is unavailable, and nothing will come back for these rankings.
                self._rankings.clear()
            self._changed.wait_for(lambda: self._is_closing, _PAUSE_S)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_s < _TIDY_S:
            return
        self._tidied_s = time.monotonic()
        if self.dropped:
            _log.warning("rankings or session moves were dropped since the start", count=self.dropped)
        try:
            self._store.remove_expired()
        except Exception as error:
            _log.warning("expired rankings could not be removed", error=str(error))

    def _settle(self, moves: Sequence[SessionMove]) -> None:
        """These moves are written or lost."""
        self._moving -= Counter((move.tenant, move.session_id) for move in moves)
        self._changed.notify_all()
