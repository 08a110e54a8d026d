"""Whole numbers and stock as programs and people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.numbers import Notation, parse_stock, parse_whole_number
from catalog.rows import RowRefused


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5", 5), ("5.0", 5), ("5,0", 5), ("5.0000", 5), (5.0, 5), (0, 0), ("1,200", 1200), ("1 200", 1200),
        ("12,345,678", 12_345_678), ("1.234.567", 1_234_567), ("５", 5), (" 7 ", 7),
    ],
)  # fmt: skip
def test_whole_numbers(value: object, number: int) -> None:
    """Decimals of zero and groups of thousands do not change a whole number."""
    assert parse_whole_number("quantity", value, 10**9) == number


@pytest.mark.parametrize(
    "value",
    ["", "2.5", 2.5, "many", "-1", -1, "1e3", "5.000", True, [1], "9" * 30, float("inf")],
)  # fmt: skip
def test_no_whole_number(value: object) -> None:
    """A fraction, a negative number and "5.000", which may be 5 or 5000, are refused."""
    with pytest.raises(RowRefused, match="quantity"):
        parse_whole_number("quantity", value, 10**9)


def test_the_notation_settles_thousands() -> None:
    """In a file with decimal commas "5.000" is five thousand and "5,000" is five."""
    assert parse_whole_number("quantity", "5.000", 10**9, Notation(",", declared=True)) == 5_000
    assert parse_whole_number("quantity", "5,000", 10**9, Notation(",", declared=True)) == 5
    assert parse_whole_number("quantity", "5.000", 10**9, Notation(".", declared=True)) == 5


@pytest.mark.parametrize(
    ("value", "stock"),
    [
        ("-4", 0), ("−4", 0), (-4, 0), ("-4.0", 0), ("12", 12), ("In Stock", None), ("in_stock", None),
        ("instock", None),
        ("Out of stock", 0), ("https://schema.org/OutOfStock", 0), ("sold out", 0), ("preorder", 0), (True, None),
        (False, 0),
    ],
)  # fmt: skip
def test_stock(value: object, stock: int | None) -> None:
    """A negative stock is none; words say whether there are some, without a number."""
    assert parse_stock("stock", value) == stock


def test_no_stock() -> None:
    """Other words are refused by a message that names the known ones."""
    with pytest.raises(RowRefused, match="in stock or out of stock"):
        parse_stock("stock", "a few")


@given(st.text(max_size=20) | st.integers() | st.floats() | st.booleans())
def test_any_stock(value: object) -> None:
    """Any value is a number that is not negative, is unknown, or is refused."""
    try:
        stock = parse_stock("stock", value)
    except RowRefused:
        return
    assert stock is None or 0 <= stock <= 2**62
