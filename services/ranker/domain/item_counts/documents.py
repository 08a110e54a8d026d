"""The counts as texts, as a store keeps them: JSON, in the order of the fields."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from services.ranker.domain.item_counts.intervals import Interval
from services.ranker.domain.item_counts.neighbours import Count, Neighbours
from services.ranker.domain.item_counts.of_history import FEWEST_OF_ITEM, NeighbourColumns
from services.ranker.domain.item_counts.pairs import Act, PersonCounts
from services.ranker.domain.item_counts.relations import Pair, Relation
from services.ranker.domain.item_counts.trending import Trend

# A log mass is stored in millionths.
_PARTS = 1_000_000
_RELATIONS = {relation.value: relation for relation in Relation}


def person_text(person: PersonCounts) -> str:
    return _text(
        [
            [[act.relation.value, *act[1:]] for act in person.acts],
            [[pair.relation.value, pair.first, pair.second, day] for pair, day in person.counted.items()],
            [[*which, pieces] for which, pieces in person.undone.items()],
            list(person.active.items()),
            list(person.followed.items()),
        ]
    )


def person_of_text(text: str | None) -> PersonCounts:
    """A person of whom nothing is stored has counted nothing."""
    if text is None:
        return PersonCounts()
    acts, counted, undone, active, followed = json.loads(text)
    return PersonCounts(
        [Act(_RELATIONS[relation], *rest) for relation, *rest in acts],
        {Pair(_RELATIONS[relation], first, second): day for relation, first, second, day in counted},
        {(order_id, item_id): pieces for order_id, item_id, pieces in undone},
        dict(active),
        dict(followed),
    )


def neighbours_text(neighbours: Neighbours) -> str:
    """Bounded, strongest first, as columns; those that a ranking reads in any case are a line of their own.

    Each ranking reads up to twenty such texts. Whole numbers are read twice as fast as others.
    """
    others = list(neighbours.bounded().others.items())
    return "\n".join(_columns_text(part) for part in (others[:FEWEST_OF_ITEM], others[FEWEST_OF_ITEM:]))


def neighbours_of_text(text: str | None) -> Neighbours:
    if text is None:
        return Neighbours()
    parts = [json.loads(part) for part in text.split("\n")]
    rows = [row for part in parts for row in zip(*part, strict=True)]
    return Neighbours({id: Count(log_mass / _PARTS, persons) for id, log_mass, persons in rows})


def columns_of_text(text: str, is_whole: bool) -> NeighbourColumns:
    """The same, for domain/item_counts/of_history.py; with `is_whole` false only the FEWEST_OF_ITEM first."""
    first, _, rest = text.partition("\n")
    item_ids, log_masses, _ = json.loads(first)
    if is_whole:
        more, more_masses, _ = json.loads(rest)
        item_ids, log_masses = item_ids + more, log_masses + more_masses
    return NeighbourColumns(item_ids, np.array(log_masses, np.float64) / _PARTS)


def _columns_text(others: Sequence[tuple[str, Count]]) -> str:
    log_masses = [round(count.log_mass * _PARTS) for _, count in others]
    return _text([[id for id, _ in others], log_masses, [count.persons for _, count in others]])


def count_text(count: Count) -> str:
    return _text(count)


def count_of_text(text: str) -> Count:
    return Count(*json.loads(text))


def trend_text(trend: Trend) -> str:
    return _text(list(trend.buckets.items()))


def trend_of_text(text: str | None) -> Trend:
    return Trend(dict(json.loads(text or "[]")))


def interval_text(interval: Interval) -> str:
    return _text(interval)


def interval_of_text(text: str | None) -> Interval:
    return Interval() if text is None else Interval(*json.loads(text))


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
