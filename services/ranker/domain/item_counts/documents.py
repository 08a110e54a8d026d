"""The counts as texts, as a store keeps them: JSON, in the order of the fields."""

from __future__ import annotations

import json

import numpy as np

from services.ranker.domain.item_counts.intervals import Interval
from services.ranker.domain.item_counts.neighbours import Count, Neighbours
from services.ranker.domain.item_counts.of_history import NeighbourColumns
from services.ranker.domain.item_counts.pairs import Act, PersonCounts
from services.ranker.domain.item_counts.relations import Pair, Relation
from services.ranker.domain.item_counts.trending import Trend


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
        [Act(Relation(relation), *rest) for relation, *rest in acts],
        {Pair(Relation(relation), first, second): day for relation, first, second, day in counted},
        {(order_id, item_id): pieces for order_id, item_id, pieces in undone},
        dict(active),
        dict(followed),
    )


def neighbours_text(neighbours: Neighbours) -> str:
    """Bounded, as columns, the strongest first: reading them costs a request a tenth of what single rows cost."""
    others = neighbours.bounded().others
    return _text([list(others), *([count[column] for count in others.values()] for column in (0, 1))])


def neighbours_of_text(text: str | None) -> Neighbours:
    if text is None:
        return Neighbours()
    item_ids, log_masses, persons = json.loads(text)
    return Neighbours({id: Count(*count) for id, *count in zip(item_ids, log_masses, persons, strict=True)})


def columns_of_text(text: str) -> NeighbourColumns:
    """The same, for domain/item_counts/of_history.py."""
    item_ids, log_masses, _ = json.loads(text)
    return NeighbourColumns(item_ids, np.array(log_masses, np.float64))


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
