"""Examples from the ranker's log: the logged features of each page that was shown, and what followed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.candidate_source import ListKind
from services.ranker.domain.event import Event, ItemFeatures
from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.refunds import UNDOING
from services.ranker.domain.stored_ranking import LoggedFeatures, StoredRanking
from services.ranker.domain.user_features import UserFeatures
from training.ranking.examples import Examples, Page
from training.ranking.outcomes import Outcomes

# An event so long after a page is no outcome of it.
WINDOW_S = 24 * 3_600.0
_AT_ONCE = 1_000

Record = TypeVar("Record")


class ExampleLog(Protocol):
    """What examples are made of; each as in the ranker's ProfileStore, which is one."""

    def events_after(self, tenant: str, position: int, limit: int, person: str = "") -> list[tuple[int, Event]]: ...

    def impressions_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, Impressions]]: ...

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]: ...

    def persons(self, tenant: str, persons: Sequence[str]) -> dict[str, tuple[str, ...]]: ...


class ExampleReader:
    """Reads a log continuously; what it has returned it does not return again.

    `position` is that of the last page returned, or skipped because it has no usable features: a reader made with
    `after=position` continues behind it. It reads the earlier events once more, for the outcomes of later pages.
    `vector_version` is the model of the vectors in what was returned last. `closed` are the pages that were returned or
    skipped last.
    """

    def __init__(self, store: ExampleLog, tenant: str = "default", after: int = 0, window_s: float = WINDOW_S) -> None:
        self._store, self._tenant, self._window_s = store, tenant, window_s
        self._outcomes = Outcomes()
        self._event_position = self._page_position = 0
        # Position, time and person of the pages whose window is not over.
        self._waiting: deque[tuple[int, float, str]] = deque()
        self.position = after
        self.vector_version = ""
        self.closed: list[Impressions] = []
        self._refunded = set[str]()

    def read(self, now_s: float, limit: int = 100_000) -> Examples:
        """At most `limit` pages, oldest recording first, whose window is over at `now_s`."""
        return self.read_pages(now_s, limit)[0]

    def read_pages(self, now_s: float, limit: int) -> tuple[Examples, list[tuple[int, Impressions]]]:
        """As `read`; with the pages that the examples are of, and their positions in the log."""
        self._read_on()
        closed: list[int] = []
        while self._waiting and len(closed) < limit and self._waiting[0][1] + self._window_s <= now_s:
            closed.append(self._waiting.popleft()[0])
        if not closed:
            self.closed = []
            return Examples.none(), []
        self.position = closed[-1]
        pages = self._pages(closed)
        self.closed = [page for _, page in pages]
        return self._examples(pages)

    def reached(self, pages: Sequence[Impressions]) -> list[list[int]]:
        """How far the person got with each item of each page, as in `Outcomes.reached`, without repetitions."""
        persons = self._store.persons(self._tenant, sorted({page.person for page in pages}))
        return [self._reached(page, persons[page.person], self._rows(page, persons[page.person])) for page in pages]

    def behind_s(self, now_s: float) -> float:
        """For how long the window of the next page has been over; 0 if it is not, or there is no next page."""
        due_s = self._waiting[0][1] + self._window_s if self._waiting else now_s
        return max(0.0, now_s - due_s)

    def again(self, positions: Sequence[int]) -> tuple[Examples, list[tuple[int, Impressions]]]:
        """As `read_pages`, of pages that were returned before, in order, as far as the log still has them."""
        self._read_on()
        found = (self._store.impressions_after(self._tenant, position - 1, 1) for position in positions)
        named = zip(found, positions, strict=True)
        return self._examples([entry for entries, position in named for entry in entries if entry[0] == position])

    def refunded(self) -> set[str]:
        """All keys of the persons who gave something back, as far as read since the last call: their labels change."""
        persons, self._refunded = sorted(self._refunded), set()
        return {key for keys in self._store.persons(self._tenant, persons).values() for key in keys}

    def forget(self, person: str) -> None:
        """After a deletion: of the person, memory keeps what the log still has, which was recorded since."""
        self._outcomes.forget([person])
        for position, event in _records(partial(self._store.events_after, self._tenant, person=person), 0):
            if position <= self._event_position:
                self._outcomes.add_event(event)
        left = set()
        for position, page in _records(partial(self._store.impressions_after, self._tenant, person=person), 0):
            if position <= self._page_position:
                self._outcomes.add_impressions(page)
                left.add(position)
        self._waiting = deque(each for each in self._waiting if each[2] != person or each[0] in left)

    def _pages(self, positions: Sequence[int]) -> list[tuple[int, Impressions]]:
        """The pages at these ascending positions that are still in the log."""
        wanted, found = set(positions), list[tuple[int, Impressions]]()
        for entry in _records(partial(self._store.impressions_after, self._tenant), positions[0] - 1):
            if entry[0] > positions[-1]:
                break
            if entry[0] in wanted:
                found.append(entry)
        return found

    def _examples(self, pages: Sequence[tuple[int, Impressions]]) -> tuple[Examples, list[tuple[int, Impressions]]]:
        if not pages:
            return Examples.none(), []
        self.vector_version, dimensions = vectors_of([page for _, page in pages])
        usable = [
            (entry, logged) for entry in pages if (logged := usable_features(entry[1], self.vector_version)) is not None
        ]
        item_ids = {id for (_, page), logged in usable for id in (*page.ranking.item_ids, *logged.event_item_ids)}
        items = self._store.items(self._tenant, sorted(item_ids))
        persons = self._store.persons(self._tenant, sorted({page.person for (_, page), _ in usable}))
        vectors = ItemVectors(items, self.vector_version, dimensions)
        made = [(self._page(entry[1], logged, persons[entry[1].person], vectors), entry) for entry, logged in usable]
        known = [(page, entry) for page, entry in made if page.candidates.vectors.any()]
        return Examples.of([page for page, _ in known], dimensions), [entry for _, entry in known]

    def _page(self, page: Impressions, logged: LoggedFeatures, persons: Sequence[str], vectors: ItemVectors) -> Page:
        rows = self._rows(page, persons)
        return example_page(page, logged, vectors, rows, self._reached(page, persons, rows))

    def _rows(self, page: Impressions, persons: Sequence[str]) -> list[int]:
        """Those of the page's items of which an outcome is no repetition."""
        return [
            row
            for row, item_id in enumerate(page.ranking.item_ids)
            if not self._outcomes.is_repeated(page, persons, item_id, self._window_s)
        ]

    def _reached(self, page: Impressions, persons: Sequence[str], rows: Sequence[int]) -> list[int]:
        item_ids = page.ranking.item_ids
        return [self._outcomes.reached(page, persons, item_ids[row], self._window_s) for row in rows]

    def _read_on(self) -> None:
        for position, event in _records(partial(self._store.events_after, self._tenant), self._event_position):
            self._event_position = position
            self._outcomes.add_event(event)
            if event.type in UNDOING:
                self._refunded.add(event.person)
        for position, page in _records(partial(self._store.impressions_after, self._tenant), self._page_position):
            self._page_position = position
            self._outcomes.add_impressions(page)
            if position > self.position:
                self._waiting.append((position, page.shown_s, page.person))


def vectors_of(pages: Sequence[Impressions]) -> tuple[str, int]:
    """(model version, dimensions) of the vectors in most of the pages' features; ("", 0) if none has any."""
    logged = (page.ranking.logged for page in pages)
    counts = Counter((each.vector_version, len(each.long_term)) for each in logged if each and each.vector_version)
    return max(counts, key=lambda key: (counts[key], key), default=("", 0))


def example_page(
    page: Impressions, logged: LoggedFeatures, vectors: ItemVectors, rows: Sequence[int], reached: Sequence[int]
) -> Page:
    """Of these rows of the page; `reached` of each row."""
    ranking, item_ids = page.ranking, [page.ranking.item_ids[row] for row in rows]
    user = UserFeatures(
        logged.event_item_ids, vectors.of(logged.event_item_ids), logged.event_types, logged.event_numbers,
        logged.long_term, logged.query, logged.context,
    )  # fmt: skip
    return Page(
        user, CandidateFeatures(item_ids, vectors.of(item_ids), logged.numbers[list(rows)]),
        [page.positions[row] for row in rows], ranking.propensities[list(rows)].tolist(), reached, page.shown_s,
        page.person, ranking.ranking_id, _kind(ranking, logged),
    )  # fmt: skip


class ItemVectors:
    """Unit vectors of items, by id; zero for those without a vector of the version."""

    def __init__(self, items: Mapping[str, ItemFeatures], version: str, dimensions: int) -> None:
        self._dimensions = dimensions
        self._of = {
            item_id: item.vector
            for item_id, item in items.items()
            if item.vector is not None and item.model_version == version and len(item.vector) == dimensions
        }

    def of(self, item_ids: Sequence[str]) -> FloatArray:
        """[n, dimensions]."""
        rows = np.zeros((len(item_ids), self._dimensions), np.float32)
        for row, item_id in enumerate(item_ids):
            if (vector := self._of.get(item_id)) is not None:
                rows[row] = vector
        return unit_rows(rows)


def usable_features(page: Impressions, vector_version: str) -> LoggedFeatures | None:
    """None if the ranker did not make the order, or with other features than today's, or vectors of another model."""
    logged = page.ranking.logged
    if logged is None or (logged.version, tuple(logged.names)) != (FEATURES_VERSION, CANDIDATE_NUMBERS):
        return None
    return logged if logged.vector_version == vector_version else None


def _kind(ranking: StoredRanking, logged: LoggedFeatures) -> str:
    is_search = bool(logged.numbers[:, CANDIDATE_NUMBERS.index("is_search")].any())
    return ListKind.of(is_search, ranking.candidate_source).value


def _records(log: Callable[[int, int], Sequence[tuple[int, Record]]], position: int) -> Iterator[tuple[int, Record]]:
    while records := log(position, _AT_ONCE):
        yield from records
        position = records[-1][0]
