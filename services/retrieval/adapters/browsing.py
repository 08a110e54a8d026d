"""Pages of all products that match a filter, in a total order, from a place in that order on (keyset pagination).

The order: by the sort's field, then products without the field; equal ones by point id. The engines order by the field,
but arbitrarily among equal values; and by point id, if no field is involved. So a page has up to three parts. The first
two are read at once, the third one in a second round trip:

1. the rest of the group of equal values in which the page before ended, by id;
2. the points beyond that value, by value; if the engine cut them off, their last group of equal values may be
   incomplete, and is left to part 3;
3. that last group by id; or, if no further value follows, the products without the field by id.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, cast

from services.common.filters import SortOrder
from services.retrieval.adapters.collection import Collection, Read, Row
from services.retrieval.adapters.facet_counts import facet_counts
from services.retrieval.adapters.points import Between, Beyond, IsMissing, Where, where
from services.retrieval.adapters.records import CREATED_AT, PRICE, Record, candidates_of
from services.retrieval.domain.cursor import MAX_KEY, Position
from services.retrieval.ports import Browse, Page

_FIELDS = {
    SortOrder.RELEVANCE: None,
    SortOrder.NEWEST: CREATED_AT,
    SortOrder.PRICE_ASCENDING: PRICE,
    SortOrder.PRICE_DESCENDING: PRICE,
}

_Rows = list[tuple[int, Record]]
# Yields the reads of the first round trip, then those of the second, and is sent their results.
_Walk = Generator[list[Read], list[list[Row]], tuple[_Rows, Position | None]]


def browse(collection: Collection, wanted: Browse) -> Page:
    """Two round trips: the counts and the first parts of the page, then its last part and the facets."""
    conditions = [where(wanted.narrowing)]
    if wanted.preferred is not None:
        conditions.append(where(wanted.preferred))
    walks = [_walk(collection, condition, wanted) for condition in conditions]
    first = [next(walk) for walk in walks]
    counts = [partial(collection.count, condition) for condition in conditions]
    *parts, totals = _grouped(collection, [*first, counts])
    is_preferred = len(conditions) > 1 and totals[1] >= wanted.preferred_minimum
    chosen = int(is_preferred)
    last = walks[chosen].send(parts[chosen])
    facets = [partial(facet_counts, collection, facet, conditions[chosen]) for facet in wanted.facets]
    parts_of_last, counted = _grouped(collection, [last, facets])
    rows, following = _result(walks[chosen], parts_of_last)
    candidates = candidates_of(dict(rows), wanted.columns, collection.dimensions)
    return Page(candidates, tuple(counted), totals[chosen], is_preferred, following)


def _walk(collection: Collection, condition: Where, wanted: Browse) -> _Walk:
    """One page. It reads one point more than the page holds: if there is one, another page follows."""
    size, after, columns = wanted.limit + 1, wanted.after, wanted.columns
    field, is_descending = _FIELDS[wanted.sort], wanted.sort is not SortOrder.PRICE_ASCENDING

    def by_id(within: Where, start: int, limit: int) -> Read:
        return list if start > MAX_KEY else partial(collection.scroll, within, start, limit, columns)

    start = 0 if after is None else after.key + 1
    if field is None or (after is not None and after.value is None):
        within = condition if field is None else condition.also(IsMissing(field))
        (found,) = yield [by_id(within, start, size)]
        yield []
        rows = _present(found)
        return rows[: wanted.limit], Position(None, rows[wanted.limit - 1][0]) if len(rows) == size else None

    # The first page has no part 1.
    rest: Read = list
    beyond = condition
    if after is not None and after.value is not None:
        rest = by_id(condition.also(Between(field, after.value, after.value)), start, size)
        beyond = condition.also(Beyond(field, after.value, is_descending))
    found_rest, found = yield [rest, partial(collection.ordered, field, is_descending, beyond, size, columns)]
    rows = _present(found)
    cut_value = _value(field, rows[-1][1]) if len(found) == size and rows else None
    complete = [row for row in rows if _value(field, row[1]) != cut_value]
    sign = -1 if is_descending else 1
    complete.sort(key=lambda row: (sign * _value(field, row[1]), row[0]))
    rows = [*_present(found_rest), *complete]

    left = size - len(rows)
    last = IsMissing(field) if cut_value is None else Between(field, cut_value, cut_value)
    parts = yield [by_id(condition.also(last), 0, left)] if left > 0 else []
    rows += [row for part in parts for row in _present(part)]
    if len(rows) >= size:
        key, record = rows[wanted.limit - 1]
        return rows[: wanted.limit], Position(_value_or_none(field, record), key)
    # If the engine cut the values off and the page is short all the same, points of the last group were removed between
    # the round trips: the next page begins behind that group.
    return rows, None if cut_value is None else Position(cut_value, MAX_KEY)


def _value_or_none(field: str, record: Record) -> float | None:
    value = record.price if field == PRICE else record.created_at_seconds or None
    return None if value is None else float(value)


def _value(field: str, record: Record) -> float:
    """Of a record that the engine found by this field."""
    return _value_or_none(field, record) or 0.0


def _present(rows: Sequence[Row]) -> _Rows:
    """Without points that were removed between finding and reading them."""
    return [(key, record) for key, record in rows if record is not None]


def _grouped(collection: Collection, groups: Sequence[Sequence[Read]]) -> list[list[Any]]:
    """The results of all reads, made at once, in the same groups."""
    results = iter(collection.at_once([read for group in groups for read in group]))
    return [[next(results) for _ in group] for group in groups]


def _result(walk: _Walk, parts: list[list[Row]]) -> tuple[_Rows, Position | None]:
    try:
        walk.send(parts)
    except StopIteration as end:
        return cast(tuple[_Rows, Position | None], end.value)
    raise RuntimeError("a page takes two round trips")
