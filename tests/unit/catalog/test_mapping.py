"""Columns of a shop's file become a product, or the row is refused with the wrong field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.mapping import FIELDS, RowRefused, parse_mapping, parse_money
from kairos.common.v1 import product_pb2
from services.common.money import MAX_UNITS

ROW = {"id": "1", "title": "Shoe"}


def product(spec: str = "", currency: str = "USD", **row: Any) -> product_pb2.Product:
    values = ROW | row
    return parse_mapping(spec, list(values), currency).product(values)


def refused_field(**row: Any) -> str:
    with pytest.raises(RowRefused) as caught:
        product(**row)
    return caught.value.field


def test_columns_of_the_same_name() -> None:
    """Without a mapping, columns with the name of a field are that field; other columns are ignored."""
    made = product(
        description="Light", brand="Nike", category="Shoes > Running", price="1,299.50", cost="600", stock="12",
        created_at="2024-05-01T12:00:00+02:00", image="https://shop/1.png", title_zh="跑步鞋",
        attributes='{"Colour": ["red", "white"], "size": 42}', unheard_of="x",
    )  # fmt: skip
    assert (made.id, made.title, made.brand, list(made.category_path)) == ("1", "Shoe", "Nike", ["Shoes", "Running"])
    assert (made.price.currency_code, made.price.units, made.price.nanos) == ("USD", 1299, 500_000_000)
    assert (made.cost.units, made.stock, made.image_uri) == (600, 12, "https://shop/1.png")
    assert made.created_at.ToJsonString() == "2024-05-01T10:00:00Z"
    assert made.localized_titles["zh"] == "跑步鞋"
    assert {name: list(entry.values) for name, entry in made.attributes.items()} == {
        "colour": ["red", "white"], "size": ["42"],
    }  # fmt: skip


def test_columns_of_other_names() -> None:
    """`field=column` takes any column, `one+two` joins two columns, and other columns are ignored."""
    row = {"upc": "7", "name": "Shoe", "variant": "red", "usd": "5", "colour": "Red", "brand": "Nike"}
    spec = "id=upc, title=name+variant, price=usd, attributes.colour=colour"
    made = parse_mapping(spec, list(row), "USD").product(row)
    assert (made.id, made.title, made.price.units, made.brand) == ("7", "Shoe red", 5, "")
    assert list(made.attributes["colour"].values) == ["Red"]


def test_lists_of_json() -> None:
    """A list of JSON or Parquet gives the levels of a category and the values of an attribute."""
    row = {"id": 5, "title": "Shoe", "category": ["Shoes", "Running"], "attributes.colour": ["red", "white"]}
    made = parse_mapping("", list(row), "USD").product(row)
    assert (made.id, list(made.category_path)) == ("5", ["Shoes", "Running"])
    assert list(made.attributes["colour"].values) == ["red", "white"]


def test_the_separator_of_categories() -> None:
    """Categories are split at the given separator; empty levels are left out."""
    mapping = parse_mapping("", ["id", "title", "category"], "USD", separator="/")
    assert list(mapping.product(ROW | {"category": "/Shoes / Running/"}).category_path) == ["Shoes", "Running"]


def test_a_column_for_the_currency() -> None:
    """The currency of a row overrides the currency of the file."""
    assert product(price="5", currency="CNY").price.currency_code == "CNY"
    row = ROW | {"price": "5", "currency": ""}
    assert parse_mapping("", list(row), "EUR").product(row).price.currency_code == "EUR"


def test_empty_is_unknown() -> None:
    """An empty cell sets no field: no price is not a price of 0, and a stock of 0 is not unknown."""
    made = product(price="", stock=None, created_at="")
    assert not any(made.HasField(field) for field in ("price", "stock", "created_at"))
    assert product(stock=0).HasField("stock")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"id": " "}, "id"),
        ({"title": ""}, "title"),
        ({"price": "NaN"}, "price"),
        ({"price": float("nan")}, "price"),
        ({"price": "Infinity"}, "price"),
        ({"price": "-1"}, "price"),
        ({"price": "cheap"}, "price"),
        ({"price": "12,50"}, "price"),
        ({"price": "1.299,00"}, "price"),
        ({"price": "1e30"}, "price"),
        ({"price": "1e999999"}, "price"),
        ({"cost": "-0.01"}, "cost"),
        ({"price": "5", "currency": "dollars"}, "price.currency_code"),
        ({"stock": "-1"}, "stock"),
        ({"stock": "2.5"}, "stock"),
        ({"stock": "many"}, "stock"),
        ({"stock": float("nan")}, "stock"),
        ({"stock": "9" * 30}, "stock"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        ({"attributes": "red"}, "attributes"),
        ({"attributes": "[1]"}, "attributes"),
    ],
    ids=str,
)
def test_a_wrong_cell(row: dict[str, Any], field: str) -> None:
    """A cell with an invalid or impossible value refuses the row and names the field."""
    assert refused_field(**row) == field


@pytest.mark.parametrize(("text", "stock"), [("5", 5), ("5.0", 5), (5.0, 5), ("0", 0)])
def test_whole_numbers(text: object, stock: int) -> None:
    """A whole number that is written with ".0" is the same number."""
    assert product(stock=text).stock == stock


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("id=upc,title=title", "no column 'upc'; the file has id, title"),
        ("id=id,colour=title", "there is no field 'colour'"),
        ("id=id,attributes.=title", "there is no field 'attributes.'"),
        ("id", "write field=column"),
        ("id=", "write field=column"),
        ("id=id", "no column for 'title', which is required; name it with --map title=COLUMN"),
    ],
)
def test_a_wrong_mapping(spec: str, said: str) -> None:
    """A wrong mapping is refused before anything is sent, by a message that names the remedy."""
    with pytest.raises(ValueError, match=r"^(--map|no column)") as caught:
        parse_mapping(spec, ["id", "title"], "USD")
    assert said in str(caught.value)


def test_a_file_without_the_required_columns() -> None:
    """A header without an id is refused by a message that names the columns."""
    with pytest.raises(ValueError, match=r"no column for 'id'.*the file has sku, title"):
        parse_mapping("", ["sku", "title"], "USD")


@given(st.decimals(0, MAX_UNITS, places=9), st.sampled_from(["", "$", "€ ", "£", "¥"]), st.booleans())
def test_amounts_keep_every_digit(amount: Decimal, sign: str, grouped: bool) -> None:
    """An amount is read exactly, with and without a currency sign and commas between thousands."""
    assert parse_money("price", f"{sign}{amount:{',' if grouped else ''}f}", "USD").amount == amount


@given(st.text(max_size=30) | st.from_regex(r"[$]?-?[0-9.,e]{1,12}", fullmatch=True))
def test_any_text_for_an_amount(text: str) -> None:
    """Any text is either an amount within the bounds of Money, or refused with the field."""
    try:
        amount, field = parse_money("price", text, "USD").amount, "price"
    except RowRefused as refused:
        amount, field = Decimal(0), refused.field
    assert field == "price"
    assert 0 <= amount <= MAX_UNITS


cells = st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.lists(st.text(max_size=4), max_size=3)


@given(st.dictionaries(st.sampled_from(FIELDS), cells))
def test_any_row(row: dict[str, Any]) -> None:
    """Any row is either a product with id and title, or refused with a field that exists."""
    try:
        made, wrong = parse_mapping("", None, "USD").product(row), ""
    except RowRefused as refused:
        made, wrong = product_pb2.Product(), refused.field
    assert wrong.split(".")[0] in FIELDS or (made.id.strip() and made.title.strip())
