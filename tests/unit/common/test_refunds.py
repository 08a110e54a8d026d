"""Which purchases refunds and cancellations undo."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.refunds import pieces_left, undone
from services.ranker.domain.event import Event, EventType


def bought(id: str, at_s: float, order: str = "", quantity: int = 1, item: str = "i") -> Event:
    return Event(id, "u", "", item, EventType.PURCHASE, at_s, quantity=quantity, order_id=order)


def refund(at_s: float, order: str = "", quantity: int = 0, item: str = "i", id: str = "r") -> Event:
    return Event(id, "u", "", item, EventType.REFUND, at_s, quantity=quantity, order_id=order)


def test_without_an_order_the_latest_purchase_before_it_is_undone() -> None:
    """Not an earlier one, not one that came later, not one of another item; a second refund undoes the next one."""
    purchases = [bought("a", 1), bought("b", 5), bought("later", 9), bought("other", 6, item="j")]
    assert undone(purchases, [refund(7)]) == {"b"}
    assert undone(purchases, [refund(7), refund(8, id="r2")]) == {"a", "b"}
    assert undone(purchases, [refund(0)]) == set()


def test_with_an_order_all_its_purchases_of_the_item_are_undone() -> None:
    """Also one whose time is later than the refund's; those of other orders, and other items, stay."""
    purchases = [bought("a", 1, "o1"), bought("b", 9, "o1"), bought("c", 5, "o2"), bought("d", 1, "o1", item="j")]
    assert undone(purchases, [refund(7, "o1")]) == {"a", "b"}
    assert undone(purchases, [refund(7, "unknown")]) == set()


@pytest.mark.parametrize(("pieces", "gone"), [([1], set()), ([2], {"a"}), ([1, 1], {"a"}), ([0], {"a"}), ([9], {"a"})])
def test_a_part_of_the_pieces(pieces: list[int], gone: set[str]) -> None:
    """A purchase is undone when all its pieces are given back, at once or one after the other; 0 means all."""
    for order in ("", "o"):
        refunds = [refund(5 + n, order, quantity, id=f"r{n}") for n, quantity in enumerate(pieces)]
        assert undone([bought("a", 1, order, quantity=2)], refunds) == gone


def test_pieces_that_are_left() -> None:
    """A part of the pieces is given back of the latest purchase first; what is left is never negative."""
    purchases = [bought("a", 1, "o", quantity=2), bought("b", 2, "o", quantity=3)]
    assert pieces_left(purchases, [refund(7, "o", 1)]) == {"a": 2, "b": 2}
    assert pieces_left(purchases, [refund(7, "o", 4)]) == {"a": 1, "b": 0}
    assert pieces_left(purchases, [refund(7, "o", 9)]) == {"a": 0, "b": 0}


PURCHASES = st.builds(
    bought, st.uuids().map(str), st.integers(0, 5), st.sampled_from(["", "o", "p"]), st.integers(1, 3)
)
REFUNDS = st.builds(
    refund, st.integers(0, 5), st.sampled_from(["", "o", "p"]), st.integers(0, 3), st.just("i"), st.uuids().map(str)
)


@given(st.lists(PURCHASES, max_size=6), st.lists(REFUNDS, max_size=6), st.randoms())
def test_the_order_of_arrival_changes_nothing(purchases: list[Event], refunds: list[Event], random: object) -> None:
    """Purchases and refunds in any order; no more pieces are undone than were given back."""
    found = undone(purchases, refunds)
    random.shuffle(purchases)  # type: ignore[attr-defined]
    random.shuffle(refunds)  # type: ignore[attr-defined]
    assert undone(purchases, refunds) == found
    if all(each.quantity for each in refunds):
        given_back = sum(each.quantity for each in refunds)
        assert sum(each.quantity for each in purchases if each.event_id in found) <= given_back
