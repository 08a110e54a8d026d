"""Items count as recently purchased, unless they are bought repeatedly."""

from __future__ import annotations

from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.repurchase import (
    BoughtDay,
    Counts,
    again_share,
    category_key,
    item_key,
    merged_days,
    purchase_counts,
    recently_purchased,
)
from tests.unit.ranker.histories import NOW_S, entry, features

DAY_S = 86_400.0


def bought(name: str, days_ago: float, category: str = "Food") -> HistoryEntry:
    return entry(features(name, category=category), EventType.PURCHASE, days_ago * DAY_S, f"{name}/{days_ago}")


def rest(*purchases: HistoryEntry, counts: Counts | None = None) -> tuple[str, ...]:
    return recently_purchased(purchases, counts or {}, NOW_S)


def test_a_purchase_is_recent() -> None:
    """A first purchase is recent for 90 days, the last bought first; an earlier one is not."""
    assert rest(bought("tea", 2), bought("pot", 0), bought("cup", 89), bought("pan", 91)) == ("pot", "tea", "cup")


def test_twice_on_one_day_is_once() -> None:
    """Two purchases of one day are no habit, those of two days are."""
    assert rest(bought("tea", 3.1), bought("tea", 3.2)) == ("tea",)
    assert rest(bought("tea", 3), bought("tea", 33)) == ()


def test_what_many_buy_again_does_not_rest() -> None:
    """An item that a third of its hundred buyers came back for is shown again; one that few came back for is not."""
    counts = {item_key("tea"): (100, 33), item_key("pot"): (100, 2)}
    assert rest(bought("tea", 1), bought("pot", 1), counts=counts) == ("pot",)


def test_a_new_item_goes_by_its_category() -> None:
    """Without buyers of its own an item is judged by its category; with many, by its own."""
    counts = {category_key("Food"): (1_000, 400), item_key("vase"): (500, 1)}
    assert rest(bought("tea", 1), bought("lamp", 1, "Lamps"), bought("vase", 1), counts=counts) == ("lamp", "vase")


def test_few_buyers_prove_nothing() -> None:
    """One buyer who came back is no proof."""
    assert again_share("tea", "", {item_key("tea"): (1, 1)}) < 0.1


def days(*bought: tuple[str, int, int, str]) -> list[BoughtDay]:
    return [BoughtDay(*day) for day in bought]


def test_the_first_day_counts_a_buyer_and_the_second_one_again() -> None:
    """By the order of recording; a third day counts nothing, and a category counts as it was on its day."""
    found = purchase_counts(
        days(("tea", 9, 3, "Drinks"), ("tea", 0, 1, "Food"), ("tea", 20, 5, "Food"), ("pot", 0, 2, ""))
    )
    assert found == {
        item_key("tea"): (1, 1), category_key("Food"): (1, 0), category_key("Drinks"): (0, 1), item_key("pot"): (1, 0),
    }  # fmt: skip


def test_merged_days_are_those_recorded_first() -> None:
    """A day on which both bought the item is one day, as it was recorded first."""
    one, other = days(("tea", 0, 4, "Food"), ("pot", 1, 7, "")), days(("tea", 0, 2, "Drinks"), ("tea", 3, 9, "Food"))
    assert merged_days(one, other) == days(("tea", 0, 2, "Drinks"), ("pot", 1, 7, ""), ("tea", 3, 9, "Food"))
