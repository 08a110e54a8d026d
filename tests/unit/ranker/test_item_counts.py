"""Counts of items over all persons: what one person adds, decay, and lower bounds."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker.domain.item_counts import documents
from services.ranker.domain.item_counts.intervals import Interval
from services.ranker.domain.item_counts.neighbours import MOST, NEIGHBOURS, Count, Neighbours, changed
from services.ranker.domain.item_counts.pairs import DAILY, Act, PersonCounts
from services.ranker.domain.item_counts.relations import Change, Pair, Relation, log_mass
from services.ranker.domain.item_counts.trending import Trend, is_new, lower_bound, trending

DAY_S = 86_400.0
NOW_S = 20_000 * DAY_S
MUG = Pair(Relation.BOUGHT, "beans", "mug")

acts = st.builds(
    Act,
    st.sampled_from([Relation.BOUGHT, Relation.VIEWED]),
    st.sampled_from("abcdef"),
    st.integers(0, 40 * 24).map(lambda hours: NOW_S - 3_600.0 * hours),
    st.sampled_from(["", "o1", "o2"]),
    st.integers(1, 3),
)


HALF_LIFE_DAYS = 30.0


def mass(day: int | None) -> float | None:
    return None if day is None else log_mass(Relation.BOUGHT, day)


def total(changes: list[Change]) -> dict[Pair, Count]:
    """The counts after all changes."""
    counts: dict[Pair, Count | None] = defaultdict(lambda: None)
    for pair, before, after in changes:
        counts[pair] = changed(counts[pair], before, after)
    return {pair: count for pair, count in counts.items() if count is not None}


@given(st.lists(acts, max_size=30))
def test_any_order_counts_the_same(made: list[Act]) -> None:
    """The same purchases and clicks in any order of arrival, also twice, give the same counts."""
    forward, backward = PersonCounts(), PersonCounts()
    one = [change for act in made for change in forward.add(act)]
    other = [change for act in [*reversed(made), *made] for change in backward.add(act)]
    assert forward.counted == backward.counted
    assert {pair: count.persons for pair, count in total(one).items()} == dict.fromkeys(forward.counted, 1)
    assert total(one).keys() == total(other).keys()


@given(st.lists(st.tuples(st.integers(0, 399), st.sampled_from("abc")), min_size=1_000, max_size=1_000))
@settings(max_examples=20)
def test_a_thousand_events_do_not_outweigh_three_persons(events: list[tuple[int, str]]) -> None:
    """Whenever one person acts in 400 days, each pair weighs less than three persons of today."""
    person, changes = PersonCounts(), list[Change]()
    for age_days, item in sorted(events, reverse=True):
        changes.extend(person.add(Act(Relation.BOUGHT, item, NOW_S - age_days * DAY_S)))
    of_three = changed(changed(changed(None, None, mass(20_000)), None, mass(20_000)), None, mass(20_000))
    assert of_three is not None
    assert all(
        count.at(NOW_S, HALF_LIFE_DAYS) < of_three.at(NOW_S, HALF_LIFE_DAYS) for count in total(changes).values()
    )


def test_a_thousand_items_of_a_day_are_bounded() -> None:
    """A person who buys a thousand items in a day adds no more counts than the bound of a day, each once."""
    person, changes = PersonCounts(), list[Change]()
    for number in range(1_000):
        changes.extend(person.add(Act(Relation.BOUGHT, f"i{number % 60}", NOW_S + number)))
    assert len(changes) == len(person.counted) == DAILY
    assert all(count.persons == 1 for count in total(changes).values())


@given(st.lists(acts, min_size=1, max_size=12), st.data())
def test_undone_is_as_if_never_bought(made: list[Act], data: st.DataObject) -> None:
    """After a refund by order the counts are those without the purchase, whenever the purchase arrives."""
    gone = data.draw(st.sampled_from([act for act in made if act.order_id] or [Act(Relation.BOUGHT, "a", NOW_S, "o")]))
    left = [
        act
        for act in made
        if (act.relation, act.item_id, act.order_id) != (Relation.BOUGHT, gone.item_id, gone.order_id)
    ]
    without, late, early = PersonCounts(), PersonCounts(), PersonCounts()
    for act in left:
        list(without.add(act))
    for act in made:
        list(late.add(act))
    list(late.undo(gone.item_id, gone.order_id))
    list(early.undo(gone.item_id, gone.order_id))
    for act in made:
        if act.relation is Relation.BOUGHT or not act.order_id:
            list(early.add(act))
    assert {p: d for p, d in late.counted.items() if p.relation is Relation.BOUGHT} == {
        p: d for p, d in without.counted.items() if p.relation is Relation.BOUGHT
    }
    assert {p: d for p, d in early.counted.items() if p.relation is Relation.BOUGHT} == {
        p: d for p, d in without.counted.items() if p.relation is Relation.BOUGHT
    }


def test_a_refund_without_an_order_undoes_the_latest_purchase() -> None:
    """Of two purchases of an item the later one is undone; the pair falls back to the day of the earlier one."""
    person, changes = PersonCounts(), list[Change]()
    for age in (3, 1):
        for item in ("beans", "mug"):
            changes.extend(person.add(Act(Relation.BOUGHT, item, NOW_S - age * DAY_S)))
    changes.extend(person.undo("mug", ""))
    assert person.counted[MUG] == 20_000 - 3
    assert total(changes)[MUG].at(NOW_S, HALF_LIFE_DAYS) == pytest.approx(2 ** (-3 / 30))


@given(st.lists(st.integers(19_000, 20_000), min_size=1, max_size=30), st.data())
def test_what_is_taken_back_is_gone(days: list[int], data: st.DataObject) -> None:
    """Counts of persons that were added and taken back leave the sum of the others, decayed."""
    gone = set(data.draw(st.lists(st.sampled_from(range(len(days))), unique=True)))
    count = None
    for day in days:
        count = changed(count, None, mass(day))
    for place in gone:
        count = changed(count, mass(days[place]), None)
    left = [day for place, day in enumerate(days) if place not in gone]
    if not left:
        assert count is None
        return
    assert count is not None
    assert count.persons == len(left)
    assert count.at(NOW_S, HALF_LIFE_DAYS) == pytest.approx(sum(2 ** ((day - 20_000) / 30) for day in left), abs=1e-6)


def test_an_item_keeps_its_best_neighbours() -> None:
    """Beyond the bound the smallest counts go, strongest first; a document is cut only when it is larger by a half."""
    known = Neighbours()
    for number in range(MOST):
        for _ in range(1 + number % 3):
            known.change(f"i{number}", None, mass(20_000))
    assert len(known.bounded().others) == MOST
    known.change("one more", None, mass(20_000))
    kept = known.bounded().others
    assert len(kept) == NEIGHBOURS
    assert [count.persons for count in kept.values()] == [3] * (MOST // 3) + [2] * (MOST // 3)


@given(st.integers(0, 10_000))
def test_a_lower_bound_is_below_the_count(count: int) -> None:
    """The bound of a rate is not negative, below the count, and grows with it."""
    assert 0 <= lower_bound(count) <= count
    assert lower_bound(count) <= lower_bound(count + 1)


def test_the_fastest_rise_is_first() -> None:
    """An item that goes from 1 to 10 persons a day rises faster than one from 50 to 100; a falling one is left out."""
    bucket = round(NOW_S / DAY_S * 4)

    def trend(before: int, now: int) -> Trend:
        """`before` and `now` persons a day."""
        earlier = {bucket - 4 * day - 2: before for day in range(1, 28)}
        return Trend({at: count for at, count in (earlier | {bucket - 1: now}).items() if count})

    trends = {"large": trend(50, 100), "small": trend(1, 10), "falling": trend(20, 5), "one": trend(0, 1)}
    assert [id for id, _ in trending(trends, NOW_S)] == ["small", "large"]


def test_a_person_counts_once_for_an_item_and_day() -> None:
    """The second event of a day is not new; an event of an earlier day that is no longer remembered is not counted."""
    person = PersonCounts()
    assert is_new(person, "a", NOW_S)
    assert not is_new(person, "a", NOW_S + 60)
    assert is_new(person, "a", NOW_S + DAY_S)
    assert not is_new(person, "a", NOW_S - 5 * DAY_S)


@given(st.lists(acts, max_size=20), st.integers(0, 5))
def test_documents_come_back(made: list[Act], number: int) -> None:
    """A text of a document gives the same counts again."""
    person = PersonCounts()
    for act in made:
        list(person.add(act))
        is_new(person, act.item_id, act.time_s)
    list(person.undo("a", "o9"))
    assert documents.person_of_text(documents.person_text(person)) == person
    interval = Interval(number, 1.5)
    assert documents.interval_of_text(documents.interval_text(interval)) == interval


def test_a_part_of_an_order_stays_bought() -> None:
    """A refund of some pieces leaves the pair; when all pieces are given back, it is undone, in any order."""
    person = PersonCounts()
    list(person.add(Act(Relation.BOUGHT, "beans", NOW_S)))
    list(person.add(Act(Relation.BOUGHT, "mug", NOW_S, "o", 2)))
    assert not list(person.undo("mug", "o", 1))
    assert MUG in person.counted
    assert list(person.undo("mug", "o", 1))
    assert MUG not in person.counted
    assert not list(person.add(Act(Relation.BOUGHT, "mug", NOW_S, "o", 2)))


def test_a_later_purchase_is_not_undone() -> None:
    """A refund without an order id that arrives late undoes the purchase before it, not one after it."""
    person = PersonCounts()
    for age in (3, 1):
        for item in ("beans", "mug"):
            list(person.add(Act(Relation.BOUGHT, item, NOW_S - age * DAY_S)))
    assert not list(person.undo("mug", "", refunded_s=NOW_S - 2 * DAY_S))
    assert person.counted[MUG] == 20_000 - 1
    assert len(person.acts) == 3
