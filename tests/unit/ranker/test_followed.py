"""What persons acted on one after the other: what one person adds and takes back, and scores of neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.item_counts import documents
from services.ranker.domain.item_counts.followed import ITEMS, Followed, changes, with_event
from services.ranker.domain.item_counts.neighbours import Count, Neighbours, changed, related
from services.ranker.domain.item_counts.of_history import FEWEST_OF_ITEM, history_weights, items_of, scores_of
from services.ranker.domain.item_counts.relations import MEASURES, Change, Pair, Relation
from services.ranker.domain.user_history import UserHistory

DAY_S = 86_400.0
NOW_S = 20_000 * DAY_S
HALF_LIFE_DAYS = MEASURES[Relation.FOLLOWED].half_life_days

visits = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 200).map(lambda days: NOW_S - days * DAY_S)))


def of_person(events: Sequence[tuple[str, float]]) -> Followed:
    followed: Followed = {}
    for item_id, time_s in events:
        followed = with_event(followed, item_id, time_s)
    return followed


def counts_of(*made: Sequence[Change]) -> dict[Pair, Count]:
    counts: dict[Pair, Count] = {}
    for pair, before, after in (change for each in made for change in each):
        count = changed(counts.get(pair), before, after)
        if count is None:
            counts.pop(pair, None)
        else:
            counts[pair] = count
    return counts


def masses(counts: dict[Pair, Count]) -> dict[Pair, tuple[float, int]]:
    return {pair: (count.at(NOW_S, HALF_LIFE_DAYS), count.persons) for pair, count in counts.items()}


def entry(item_id: str, age_s: float = 0.0, kind: EventType = EventType.CLICK) -> HistoryEntry:
    return HistoryEntry(item_id, "", kind, NOW_S - age_s, 0, None)


@given(visits)
def test_any_order_of_arrival_counts_the_same(events: list[tuple[str, float]]) -> None:
    """Events in any order, also twice, leave the same items."""
    assert of_person(events) == of_person([*reversed(events), *events])


def test_near_items_count_more() -> None:
    """Each item between two others takes a fifth of their weight, whatever the time; the other direction is half."""
    followed = of_person([("a", NOW_S - 30 * DAY_S), ("b", NOW_S - 14 * DAY_S), ("c", NOW_S)])
    found = masses(counts_of(list(changes({}, followed))))
    assert found[Pair(Relation.FOLLOWED, "b", "c")][0] == pytest.approx(1)
    assert found[Pair(Relation.FOLLOWED, "a", "c")][0] == pytest.approx(0.8)
    assert found[Pair(Relation.FOLLOWED, "c", "a")][0] == pytest.approx(0.4)
    assert found[Pair(Relation.FOLLOWED, "a", "b")][0] == pytest.approx(2 ** (-14 / HALF_LIFE_DAYS))


def test_a_person_is_bounded() -> None:
    """A thousand items are the last twenty, and no pair of one person weighs more than 1."""
    followed = of_person([(f"i{number:04}", NOW_S + number) for number in range(1_000)])
    assert list(followed) == [f"i{number:04}" for number in range(1_000 - ITEMS, 1_000)]
    found = masses(counts_of(list(changes({}, followed))))
    assert len(found) == ITEMS * ITEMS
    assert max(mass for mass, _ in found.values()) <= 1 + 1e-9


@given(st.lists(visits, min_size=1, max_size=5), st.data())
def test_deleted_persons_leave_the_counts_of_the_others(
    persons: list[list[tuple[str, float]]], data: st.DataObject
) -> None:
    """Recording events of several persons and deleting some of them, in any order, is as if these had never been."""
    steps = [(who, event) for who, events in enumerate(persons) for event in events]
    mixed = data.draw(st.permutations(steps))
    gone = data.draw(st.sets(st.integers(0, len(persons) - 1)))
    states: dict[int, Followed] = {}
    made = []
    for who, (item_id, time_s) in mixed:
        before = states.get(who, {})
        states[who] = with_event(before, item_id, time_s)
        made.append(list(changes(before, states[who])))
    made.extend(list(changes(states.pop(who, {}), {})) for who in data.draw(st.permutations(sorted(gone))))
    left = counts_of(*(list(changes({}, of_person(events))) for who, events in enumerate(persons) if who not in gone))
    found, expected = masses(counts_of(*made)), masses(left)
    assert found.keys() == expected.keys()
    for pair, (mass, number) in expected.items():
        assert found[pair][1] == number
        assert found[pair][0] == pytest.approx(mass, abs=1e-6)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3), st.tuples(st.integers(0, 30_000_000), st.integers(1, 9)), max_size=200
    )
)
def test_neighbours_come_back(known: dict[str, tuple[int, int]]) -> None:
    """A text gives the neighbours again, strongest first, whole or the first ones only; ids have any characters."""
    others = {id: Count(parts / 1_000_000, persons) for id, (parts, persons) in known.items()}
    stored = Neighbours(others).bounded()
    text = documents.neighbours_text(stored)
    assert documents.neighbours_of_text(text) == stored
    for is_whole, most in ((True, 1_000), (False, FEWEST_OF_ITEM)):
        columns = documents.columns_of_text(text, is_whole)
        assert list(columns.item_ids) == list(stored.others)[:most]
        np.testing.assert_allclose(columns.log_masses, [count.log_mass for count in stored.others.values()][:most])


def test_what_was_done_last_counts_most() -> None:
    """Newer items, and heavier events on an item, weigh more; removals and queries are no items of a history."""
    recent = [entry("new"), entry("cart"), entry("cart", 5, EventType.CART), entry("old", 60)]
    weights = history_weights(
        UserHistory([*recent, entry("gone", 70, EventType.REMOVE), entry("", 80, EventType.SEARCH)])
    )
    assert list(weights) == ["new", "cart", "old"]
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["new"] > weights["cart"] > 2 * weights["old"] * 0.7
    assert not history_weights(UserHistory())


def test_scores_are_those_of_related_items() -> None:
    """For one item the scores are those of `related`, without items that the person knows."""
    counts = counts_of(
        *(
            list(changes({}, of_person([("a", NOW_S - 2 * DAY_S), (other, NOW_S - DAY_S), ("c", NOW_S)])))
            for other in "bbd"
        )
    )
    others = {pair.second: count for pair, count in counts.items() if pair.first == "a" != pair.second}
    totals = {pair.first: count for pair, count in counts.items() if pair.first == pair.second}
    columns = documents.columns_of_text(documents.neighbours_text(Neighbours(others)), is_whole=True)
    history = UserHistory([entry("a")], purchases=[entry("d", 9)])

    def log_totals(item_ids: Sequence[str]) -> list[float]:
        return [totals[item_id].log_mass if item_id in totals else -math.inf for item_id in item_ids]

    found = scores_of(history_weights(history), {"a": columns}, log_totals, items_of(history), NOW_S)
    expected = {
        each.item_id: each.score for each in related(Relation.FOLLOWED, {"a": Neighbours(others)}, totals, NOW_S, 9)
    }
    assert expected.keys() == {"b", "c", "d"}
    assert found == {item_id: pytest.approx(expected[item_id], rel=1e-5) for item_id in ("b", "c")}
