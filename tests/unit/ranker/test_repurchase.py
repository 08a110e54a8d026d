"""Items count as recently purchased, unless they are bought repeatedly."""

from __future__ import annotations

from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.repurchase import (
    BoughtDay,
    Counts,
    again_share,
    category_key,
    groups_of,
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
    """A first purchase is recent for 90 days; the latest purchase comes first."""
    assert rest(bought("tea", 2), bought("pot", 0), bought("cup", 89), bought("pan", 91)) == ("pot", "tea", "cup")


def test_twice_on_one_day_is_once() -> None:
    """Two purchases on one day are not a repeat purchase; purchases on two days are."""
    assert rest(bought("tea", 3.1), bought("tea", 3.2)) == ("tea",)
    assert rest(bought("tea", 3), bought("tea", 33)) == ()


def test_frequently_repurchased_items_are_not_recent() -> None:
    """An item that a third of a hundred buyers bought again is not recent; one that few bought again is."""
    counts = {item_key("tea"): (100, 33), item_key("pot"): (100, 2)}
    assert rest(bought("tea", 1), bought("pot", 1), counts=counts) == ("pot",)


def test_a_new_item_uses_its_category() -> None:
    """Without own buyers an item uses its category's rate; with many buyers, its own rate."""
    counts = {category_key("Food"): (1_000, 400), item_key("vase"): (500, 1)}
    assert rest(bought("tea", 1), bought("lamp", 1, "Lamps"), bought("vase", 1), counts=counts) == ("lamp", "vase")


def test_few_buyers_are_no_evidence() -> None:
    """One repeat buyer is not enough evidence."""
    assert again_share("tea", "", {item_key("tea"): (1, 1)}) < 0.1


def days(*bought: tuple[str, int, int, str]) -> list[BoughtDay]:
    return [BoughtDay(*day) for day in bought]


def test_the_second_day_counts_a_repeat_buyer() -> None:
    """Days count in recording order. A third day is not counted; a category counts as it was on that day."""
    found = purchase_counts(
        days(("tea", 9, 3, "Drinks"), ("tea", 0, 1, "Food"), ("tea", 20, 5, "Food"), ("pot", 0, 2, ""))
    )
    assert found == {
        item_key("tea"): (1, 1), category_key("Food"): (1, 0), category_key("Drinks"): (0, 1), item_key("pot"): (1, 0),
    }  # fmt: skip


def test_merged_days_keep_the_first_recording() -> None:
    """A day on which both bought the item is one day, with the values that were recorded first."""
    one, other = days(("tea", 0, 4, "Food"), ("pot", 1, 7, "")), days(("tea", 0, 2, "Drinks"), ("tea", 3, 9, "Food"))
    assert merged_days(one, other) == days(("tea", 0, 2, "Drinks"), ("pot", 1, 7, ""), ("tea", 3, 9, "Food"))


def test_the_groups_of_what_was_bought() -> None:
    """The blue shoe's group is named once, an item without a group and one that is no longer recent are not."""
    bought = [
        HistoryEntry(item.item_id, "", EventType.PURCHASE, 0, 0, item)
        for item in (
            ItemFeatures(id, None, "", 1.0, "", "", group)
            for id, group in (("blue", "shoe"), ("pot", "pot"), ("red", "shoe"), ("tea", ""), ("old", "lamp"))
        )
    ]
    assert groups_of(bought, ("blue", "pot", "red", "tea")) == ("shoe",)
