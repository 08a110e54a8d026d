"""The validation of products: every bound of product.proto, and all violations at once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import Money
from services.common.product import Product, category_ancestry, gtin_problem, violations

SHOE = Product(id="1", title="Shoe")


def usd(amount: int) -> Money:
    return Money("USD", Decimal(amount))


def wrong(product: Product) -> list[str]:
    return [violation.field for violation in violations(product)]


def test_id_and_title_are_enough() -> None:
    """All fields but id and title are optional."""
    assert wrong(SHOE) == []


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        ({"id": "x" * 128}, {"id": "x" * 129}, "id"),
        ({"id": "跑" * 128}, {"id": "跑" * 129}, "id"),
        ({"id": "0"}, {"id": ""}, "id"),
        ({"title": "x" * 1_000}, {"title": "x" * 1_001}, "title"),
        ({"title": "x"}, {"title": " \n"}, "title"),
        ({"localized_titles": {"zh": "x" * 1_000}}, {"localized_titles": {"zh": "x" * 1_001}}, "localized_titles[zh]"),
        (
            {"localized_titles": dict.fromkeys([f"x{letter}" for letter in "abcdefghijklmnop"], "x")},
            {"localized_titles": dict.fromkeys([f"x{letter}" for letter in "abcdefghijklmnopq"], "x")},
            "localized_titles",
        ),
        ({"localized_titles": {"zh-Hant-TW": "x"}}, {"localized_titles": {"en_US": "x"}}, "localized_titles[en_US]"),
        ({"localized_descriptions": {"de": "x"}}, {"localized_descriptions": {"": "x"}}, "localized_descriptions[]"),
        ({"id": "a b"}, {"id": "a\tb"}, "id"),
        ({"description": "x" * 20_000}, {"description": "x" * 20_001}, "description"),
        (
            {"localized_descriptions": {"zh": "x" * 20_000}},
            {"localized_descriptions": {"zh": "x" * 20_001}},
            "localized_descriptions[zh]",
        ),
        ({"brand": "x" * 256}, {"brand": "x" * 257}, "brand"),
        ({"image_uri": "x" * 2_048}, {"image_uri": "x" * 2_049}, "image_uri"),
        ({"category_path": ("x",) * 8}, {"category_path": ("x",) * 9}, "category_path"),
        ({"category_path": ("x" * 128,)}, {"category_path": ("y", "x" * 129)}, "category_path[1]"),
        ({"category_path": ("Shoes",)}, {"category_path": ("",)}, "category_path[0]"),
        ({"category_path": ("Shoes & Bags",)}, {"category_path": ("Shoes > Bags",)}, "category_path[0]"),
        (
            {"attributes": {f"a{n}": ("x",) for n in range(64)}},
            {"attributes": {f"a{n}": ("x",) for n in range(65)}},
            "attributes",
        ),
        ({"attributes": {"a" * 64: ("x",)}}, {"attributes": {"a" * 65: ("x",)}}, f"attributes[{'a' * 65}]"),
        ({"attributes": {"colour": ("x",)}}, {"attributes": {"Colour": ("x",)}}, "attributes[Colour]"),
        ({"attributes": {"a": ("x",) * 32}}, {"attributes": {"a": ("x",) * 33}}, "attributes[a].values"),
        ({"attributes": {"a": ("x",)}}, {"attributes": {"a": ()}}, "attributes[a].values"),
        (
            {"attributes": {"a": ("x" * 128,)}},
            {"attributes": {"a": ("x", "x" * 129)}},
            "attributes[a].values[1]",
        ),
        ({"price": usd(0)}, {"price": usd(-1)}, "price"),
        ({"price": usd(2), "cost": usd(1)}, {"cost": usd(1)}, "cost"),
        ({"price": usd(2), "cost": usd(1)}, {"price": usd(2), "cost": Money("EUR", Decimal(1))}, "cost.currency_code"),
        (
            {"price": usd(2), "price_floor": usd(1), "price_ceiling": usd(1)},
            {"price": usd(2), "price_floor": usd(3), "price_ceiling": usd(1)},
            "price_floor",
        ),
        (
            {"price": usd(2), "price_floor": usd(2)},
            {"price": usd(2), "price_floor": usd(3)},
            "price_floor",
        ),
        (
            {"price": usd(2), "minimum_advertised_price": usd(2)},
            {"price": usd(2), "minimum_advertised_price": usd(3)},
            "minimum_advertised_price",
        ),
        ({"stock": 0}, {"stock": -1}, "stock"),
        ({"item_group_id": "g" * 128}, {"item_group_id": "g" * 129}, "item_group_id"),
        ({"item_group_id": ""}, {"item_group_id": "a\nb"}, "item_group_id"),
        ({"variant_attributes": ("a",) * 8}, {"variant_attributes": ("a",) * 9}, "variant_attributes"),
        ({"variant_attributes": ("a", "b")}, {"variant_attributes": ("a", "B")}, "variant_attributes[1]"),
        ({"variant_attributes": ("a" * 64,)}, {"variant_attributes": ("a" * 65,)}, "variant_attributes[0]"),
        ({"sku": "x" * 128}, {"sku": "x" * 129}, "sku"),
        ({"mpn": "x" * 128}, {"mpn": "x" * 129}, "mpn"),
        ({"gtin": "96385074"}, {"gtin": "96385075"}, "gtin"),
        ({"gtin": "036000291452"}, {"gtin": "036000291453"}, "gtin"),
        ({"gtin": "4006381333931"}, {"gtin": "4006381333932"}, "gtin"),
        ({"gtin": "10614141000415"}, {"gtin": "10614141000416"}, "gtin"),
        ({"gtin": "4006381333931"}, {"gtin": "400638133393"}, "gtin"),
        ({"gtin": "4006381333931"}, {"gtin": "4006381-333931"}, "gtin"),
        ({"gtin": "96385074"}, {"gtin": "９６３８５０７４"}, "gtin"),
    ],
)
def test_each_bound(good: dict[str, object], bad: dict[str, object], field: str) -> None:
    """A field at its bound is valid; a field beyond it is refused by its path."""
    assert wrong(replace(SHOE, **good)) == []  # type: ignore[arg-type]
    assert wrong(replace(SHOE, **bad)) == [field]  # type: ignore[arg-type]


@given(st.integers(0, 10**13 - 1), st.integers(0, 12), st.integers(1, 9))
def test_the_check_digit_finds_every_wrong_digit(number: int, place: int, change: int) -> None:
    """Of ten check digits one is right, and no other digit may change alone."""
    valid = [gtin for digit in range(10) if gtin_problem(gtin := f"{number:013}{digit}") is None]
    assert len(valid) == 1
    digit = (int(valid[0][place]) + change) % 10
    assert gtin_problem(f"{valid[0][:place]}{digit}{valid[0][place + 1 :]}") is not None


def test_a_product_without_a_group_is_its_own() -> None:
    """The group of a product is its item group, or the product itself."""
    assert (SHOE.group, replace(SHOE, item_group_id="g").group) == ("1", "g")


def test_all_that_is_wrong() -> None:
    """Every wrong field is named at once, below the prefix."""
    product = Product(id="", title="", stock=-1, price=usd(-1))
    found = [violation.field for violation in violations(product, "products[3].")]
    assert found == ["products[3].id", "products[3].title", "products[3].price", "products[3].stock"]


@given(st.lists(st.text("abc", min_size=1), max_size=8).map(tuple))
def test_every_category_above(path: tuple[str, ...]) -> None:
    """A product is in each category from the top to its own, and in no other."""
    ancestry = category_ancestry(path)
    assert len(ancestry) == len(path)
    assert all(deeper.startswith(broader) for broader, deeper in pairwise(ancestry))
    assert [*ancestry[-1:]] == ([replace(SHOE, category_path=path).category] if path else [])
