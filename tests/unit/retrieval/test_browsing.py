"""Pages over a collection that orders equal values arbitrarily and loses points while a page is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.common.filters import SortOrder
from services.common.offers import Offer
from services.retrieval.adapters.browsing import browse
from services.retrieval.adapters.collection import Hits, Read, Row, VectorQuery
from services.retrieval.adapters.points import Between, Beyond, Condition, IsMissing, PointData, Where
from services.retrieval.adapters.records import Record
from services.retrieval.domain.cursor import MAX_KEY, Position
from services.retrieval.ports import Browse, Columns, Narrowing


class FakeCollection:
    """Points by key, each with a price or None. After each round trip the points of the next set in `doomed` go."""

    model_version = image_model_version = ""
    dimensions = image_dimensions = 0

    def __init__(self, prices: dict[int, float | None], seed: int, doomed: Sequence[set[int]] = ()) -> None:
        self.prices = dict(prices)
        self.trips = 0
        self._random = Random(seed)
        self._doomed = iter(doomed)

    def ordered(self, key: str, descending: bool, where: Where, limit: int, columns: Columns) -> list[Row]:
        keys = [key for key in self._matching(where) if self.prices[key] is not None]
        # Of no particular order among equal ones.
        self._random.shuffle(keys)
        keys.sort(key=lambda key: self.prices[key] or 0.0, reverse=descending)
        return self._rows(keys[:limit])

    def scroll(self, where: Where, start: int, limit: int, columns: Columns) -> list[Row]:
        return self._rows([key for key in self._matching(where) if key >= start][:limit])

    def count(self, where: Where) -> int:
        return len(self._matching(where))

    def at_once(self, reads: Sequence[Read]) -> list[Any]:
        results = [read() for read in reads]
        self.trips += bool(reads)
        for key in next(self._doomed, set()):
            self.prices.pop(key, None)
        return results

    def _matching(self, where: Where) -> list[int]:
        return sorted(key for key in self.prices if all(self._holds(key, each) for each in where.conditions))

    def _holds(self, key: int, condition: Condition) -> bool:
        price = self.prices[key]
        if isinstance(condition, IsMissing):
            return price is None
        if isinstance(condition, Between):
            return price is not None and price == condition.minimum == condition.maximum
        assert isinstance(condition, Beyond)
        return price is not None and (price < condition.value if condition.descending else price > condition.value)

    def _rows(self, keys: Sequence[int]) -> list[Row]:
        return [(key, Record(f"p{key}", self.prices[key], "", "", "", 0, 0, b"", b"", b"", (), b"")) for key in keys]

    def query(self, queries: Sequence[VectorQuery], columns: Columns | None = None) -> list[Hits]:
        raise NotImplementedError

    def retrieve(self, ids: Sequence[int], columns: Columns) -> dict[int, Record]:
        raise NotImplementedError

    def points(self, ids: Sequence[int]) -> list[PointData]:
        raise NotImplementedError

    def page(self, start: int, limit: int) -> tuple[list[int], int]:
        raise NotImplementedError

    def facet(self, key: str, where: Where, limit: int) -> list[tuple[str, int]]:
        raise NotImplementedError

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        raise NotImplementedError

    def upsert(self, points: Sequence[PointData]) -> None:
        raise NotImplementedError

    def delete(self, ids: Sequence[int]) -> None:
        raise NotImplementedError

    def offers(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        raise NotImplementedError

    def newer_offers(self, offers: Mapping[int, tuple[int, Offer]]) -> list[int]:
        raise NotImplementedError

    def set_offers(self, offers: Sequence[tuple[int, Offer]]) -> None:
        raise NotImplementedError


def wanted(sort: SortOrder, limit: int, after: Position | None) -> Browse:
    return Browse(Narrowing(), None, 1, sort, after, limit, Columns())


PRICE_SORTS = [SortOrder.PRICE_ASCENDING, SortOrder.PRICE_DESCENDING]
priced_points = st.dictionaries(
    st.integers(0, 40) | st.just(MAX_KEY), st.none() | st.sampled_from([0.0, 1.5, 1.5, 3.0]), max_size=25
)


@given(
    prices=priced_points,
    sort=st.sampled_from([*PRICE_SORTS, SortOrder.RELEVANCE]),
    limit=st.integers(1, 8),
    seed=st.integers(0, 99),
    doomed=st.lists(st.sets(st.integers(0, 40), max_size=8), max_size=8),
)
def test_points_that_go_while_a_page_is_read(
    prices: dict[int, float | None], sort: SortOrder, limit: int, seed: int, doomed: list[set[int]]
) -> None:
    """Points may go between the round trips of a page: none comes twice, those that stay all come, in order."""
    collection, after, found = FakeCollection(prices, seed, doomed), None, list[int]()
    for _ in range(3 * len(prices) + 2):
        page = browse(collection, wanted(sort, limit, after))
        found += page.candidates.keys.tolist()
        after = page.next
        if after is None:
            break
    assert after is None
    assert len(found) == len(set(found))
    sign = -1 if sort is SortOrder.PRICE_DESCENDING else 1

    def place(key: int) -> tuple[bool, float, int]:
        price = None if sort is SortOrder.RELEVANCE else prices[key]
        return price is None, sign * (price or 0.0), key

    assert found == sorted(found, key=place)
    assert set(found) >= set(collection.prices)


@given(
    prices=priced_points,
    sort=st.sampled_from([*PRICE_SORTS, SortOrder.RELEVANCE]),
    limit=st.integers(1, 8),
    after=st.none()
    | st.builds(Position, st.none() | st.sampled_from([0.0, 1.5]), st.integers(0, 40) | st.just(MAX_KEY)),
)
def test_two_round_trips(prices: dict[int, float | None], sort: SortOrder, limit: int, after: Position | None) -> None:
    """A page takes at most two round trips, wherever it begins."""
    collection = FakeCollection(prices, seed=0)
    browse(collection, wanted(sort, limit, after))
    assert collection.trips <= 2
