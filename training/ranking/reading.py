"""Examples from a profile store's log: each list with features as they were when it was shown, and what followed."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.event import Impressions, ItemFeatures
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import ProfileStore
from training.ranking.examples import Examples, Showing
from training.ranking.histories import Histories

# An act so long after a showing is another story.
WINDOW_S = 24 * 3_600.0
_PAGE = 1_000

Record = TypeVar("Record")


class ExampleReader:
    """Reads a log on and on; what it has given out it does not give again.

    `position` is that of the last showing given out (or skipped, for want of vectors): a reader made with
    `after=position` goes on behind it. It reads the events before that position once more, for what they say of users.
    `vector_version` is the model of the vectors in what was given out last.
    """

    def __init__(
        self, store: ProfileStore, tenant: str = "default", after: int = 0, window_s: float = WINDOW_S
    ) -> None:
        self._store, self._tenant, self._window_s = store, tenant, window_s
        self._histories = Histories()
        self._event_position = self._shown_position = 0
        self._waiting: deque[tuple[int, Impressions]] = deque()
        self.position = after
        # Of the vectors in the examples that were given out last.
        self.vector_version = ""

    def read(self, now_s: float, limit: int = 100_000) -> Examples:
        """At most `limit` showings, oldest recording first, whose window is over at `now_s`."""
        self._read_on()
        closed: list[tuple[int, Impressions]] = []
        while self._waiting and len(closed) < limit and self._waiting[0][1].shown_s + self._window_s <= now_s:
            closed.append(self._waiting.popleft())
        if not closed:
            return Examples.none()
        self.position = closed[-1][0]
        return self._examples([page for _, page in closed])

    def behind_s(self, now_s: float) -> float:
        """How long the window of the next showing has been over; 0 where it is not, or there is no next one."""
        due_s = self._waiting[0][1].shown_s + self._window_s if self._waiting else now_s
        return max(0.0, now_s - due_s)

    def again(self, positions: Sequence[int]) -> Examples:
        """Showings given out before, as far as the log still has them."""
        self._read_on()
        found = (self._store.impressions_after(self._tenant, position - 1, 1) for position in positions)
        named = zip(found, positions, strict=True)
        pages = [page for entries, position in named for place, page in entries if place == position]
        return self._examples(pages) if pages else Examples.none()

    def forget(self, user_id: str) -> None:
        """After a deletion: of the user, memory holds what the log still has, which is what came since."""
        self._histories.forget(user_id)
        for position, event in _pages(partial(self._store.events_after, self._tenant, user_id=user_id), 0):
            if position <= self._event_position:
                self._histories.add_event(event)
        left = set()
        for position, page in _pages(partial(self._store.impressions_after, self._tenant, user_id=user_id), 0):
            if position <= self._shown_position:
                self._histories.add_impressions(page)
                left.add(position)
        self._waiting = deque(each for each in self._waiting if each[1].user_id != user_id or each[0] in left)

    def _examples(self, pages: Sequence[Impressions]) -> Examples:
        item_ids = {id for page in pages for id in page.item_ids}.union(
            *(self._histories.item_ids(user_id) for user_id in {page.user_id for page in pages})
        )
        items = self._store.items(self._tenant, sorted(item_ids))
        self.vector_version, dimensions = newest_version(items)
        made = (
            showing(page, self._histories, items, self.vector_version, dimensions, self._window_s) for page in pages
        )
        return Examples.of([each for each in made if each is not None], dimensions)

    def _read_on(self) -> None:
        for position, event in _pages(partial(self._store.events_after, self._tenant), self._event_position):
            self._event_position = position
            self._histories.add_event(event)
        for position, page in _pages(partial(self._store.impressions_after, self._tenant), self._shown_position):
            self._shown_position = position
            self._histories.add_impressions(page)
            if position > self.position:
                self._waiting.append((position, page))


def showing(
    page: Impressions,
    histories: Histories,
    items: Mapping[str, ItemFeatures],
    version: str,
    dimensions: int,
    window_s: float = WINDOW_S,
) -> Showing | None:
    """None where no item of the page has a vector of the version."""
    request = request_of(page, histories, items, version, dimensions)
    if not request.vectors.any():
        return None
    user, candidates = features_of(request)
    reached = [histories.reached(page, item_id, window_s) for item_id in page.item_ids]
    return Showing(
        user, candidates, page.positions, page.propensities, reached, page.shown_s, page.user_id, page.ranking_id
    )


def request_of(
    page: Impressions, histories: Histories, items: Mapping[str, ItemFeatures], version: str, dimensions: int
) -> RankingRequest:
    """What the ranker was asked when it made the page, of the items on it. What was not logged counts as unknown."""
    n, around = len(page.item_ids), page.circumstances
    known = [items.get(item_id) for item_id in page.item_ids]
    user_history = histories.user_history(page.user_id, page.shown_s, items) if page.user_id else UserHistory()
    query = np.frombuffer(around.query_vector, "<f2").astype(np.float32)
    return RankingRequest(
        item_ids=page.item_ids,
        retrieval_scores=np.array(around.matches or np.ones(n), np.float32),
        vectors=_vectors(page.item_ids, items, version, dimensions),
        prices=np.array(around.prices or [item.price if item else math.nan for item in known], np.float32),
        stocks=np.array(around.stocks or np.full(n, -1), np.float32),
        popularity=np.array(histories.popularity(page.item_ids, page.shown_s), np.float32),
        query=query if around.vector_version == version and len(query) == dimensions else None,
        profile=build_profile(user_history, version, dimensions, page.shown_s),
        categories=[item.category if item else "" for item in known],
        brands=[item.brand if item else "" for item in known],
        user_history=user_history,
        model_version=version,
        now_s=page.shown_s,
        created_s=np.array(around.created_s, np.float64) if around.created_s else None,
        retrieval_bounds=(0.0, 1.0),
    )


def newest_version(items: Mapping[str, ItemFeatures]) -> tuple[str, int]:
    """(model version, dimensions) of most vectors; ("", 0) where there are none."""
    counts = Counter((i.model_version, len(i.vector)) for i in items.values() if i.vector is not None)
    return max(counts, key=lambda key: (counts[key], key), default=("", 0))


def _pages(log: Callable[[int, int], Sequence[tuple[int, Record]]], position: int) -> Iterator[tuple[int, Record]]:
    while page := log(position, _PAGE):
        yield from page
        position = page[-1][0]


def _vectors(item_ids: Sequence[str], items: Mapping[str, ItemFeatures], version: str, dimensions: int) -> FloatArray:
    """[n, dimensions] unit rows, zero where there is none of the version."""
    vectors = np.zeros((len(item_ids), dimensions), np.float32)
    for row, item_id in enumerate(item_ids):
        item = items.get(item_id)
        if item is not None and item.vector is not None and item.model_version == version:
            vectors[row] = item.vector
    unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))
    return unit
