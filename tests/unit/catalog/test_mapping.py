"""Columns of a shop's file become a product, or the row is refused with the wrong field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from catalog.mapping import FIELDS, field_of, mapping_for, parse_mapping
from catalog.rows import RowRefused, column_names, read_rows
from kairos.common.v1 import product_pb2

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
    """`field=column` takes any column, `one+two` joins two columns; fields without one are guessed from the header."""
    row = {"upc": "7", "name": "Shoe", "variant": "red", "usd": "5", "colour": "Red", "brand": "Nike"}
    spec = "id=upc, title=name+variant, price=usd, attributes.colour=colour"
    made = parse_mapping(spec, list(row), "USD").product(row)
    assert (made.id, made.title, made.price.units, made.brand) == ("7", "Shoe red", 5, "Nike")
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
    row = ROW | {"price": "5", "cost": "3", "currency": "gbp"}
    made = parse_mapping("", list(row), "EUR").product(row)
    assert (made.price.currency_code, made.cost.currency_code) == ("GBP", "GBP")


@pytest.mark.parametrize(("cells", "field"), [({"currency": "coins"}, "currency"), ({"price": "5 USD"}, "price")])
def test_a_wrong_currency_of_a_row(cells: dict[str, str], field: str) -> None:
    """A column with an unknown currency, and a cell in another currency than its column, refuse the row."""
    row = ROW | {"price": "5", "currency": "EUR"} | cells
    with pytest.raises(RowRefused, match=f"^{field}: "):
        parse_mapping("", list(row), "USD").product(row)


def test_the_price_names_the_currency_of_the_row() -> None:
    """Amounts without a currency are in that of the row's price, in whatever order the columns are."""
    made = product(cost="3", price_floor="4", price="£5.00")
    assert {made.price.currency_code, made.cost.currency_code, made.price_floor.currency_code} == {"GBP"}


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
        ({"price": "Infinity"}, "price"),
        ({"price": "-1"}, "price"),
        ({"price": "cheap"}, "price"),
        ({"price": "1.299"}, "price"),
        ({"price": "5-10"}, "price"),
        ({"price": True}, "price"),
        ({"price": {"amount": 5}}, "price"),
        ({"price": "1e30"}, "price"),
        ({"price": "1e999999"}, "price"),
        ({"cost": "-0.01"}, "cost"),
        ({"stock": "2.5"}, "stock"),
        ({"stock": "many"}, "stock"),
        ({"stock": "9" * 30}, "stock"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        ({"attributes": "red"}, "attributes"),
        ({"attributes": "[1]"}, "attributes"),
        ({"title": {"en": "Shoe"}}, "title"),
        ({"brand": [["Nike"]]}, "brand"),
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


cells = st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.lists(st.text(max_size=4), max_size=3)


@given(st.dictionaries(st.sampled_from(FIELDS), cells))
def test_any_row(row: dict[str, Any]) -> None:
    """Any row is either a product with id and title, or refused with a field that exists."""
    try:
        made, wrong = parse_mapping("", None, "USD").product(row), ""
    except RowRefused as refused:
        made, wrong = product_pb2.Product(), refused.field
    assert wrong.split(".")[0] in FIELDS or (made.id.strip() and made.title.strip())


@pytest.mark.parametrize(
    "word",
    ["", " ", "\u00a0", "\u200b", "NaN", "nan", "null", "NULL", "N/A", "#N/A", "None", "-", None, float("nan")],
)  # fmt: skip
def test_words_for_missing(word: object) -> None:
    """A blank cell, and what programs write for one, sets no field and does not lose the row."""
    row = {"brand": word, "price": word, "stock": word, "created_at": word, "category": word, "image_uri": word}
    row |= {"attributes.colour": word, "localized_titles.zh": word, "description": word}
    made = parse_mapping("", None, "USD").product(ROW | row)
    assert made == product_pb2.Product(id="1", title="Shoe")


def test_missing_values_in_lists() -> None:
    """Null in a list of JSON is no value, and neither is an empty part of a cell."""
    made = product(attributes={"colour": [None, "red", " "], "size": None}, **{"attributes.width": "wide||"})
    assert {name: list(entry.values) for name, entry in made.attributes.items()} == {
        "colour": ["red"],
        "width": ["wide"],
    }


def test_several_values_in_a_cell() -> None:
    """A vertical bar separates the values of an attribute in text; another separator can be given, or none."""
    assert list(product(**{"attributes.colour": "red | blue"}).attributes["colour"].values) == ["red", "blue"]
    row = ROW | {"attributes.colour": "a|b; c"}
    for separator, values in ((";", ["a|b", "c"]), ("", ["a|b; c"])):
        mapping = replace(parse_mapping("", list(row), "USD"), value_separator=separator)
        assert list(mapping.product(row).attributes["colour"].values) == values
    made = parse_mapping("", None, "USD").product(ROW | {"attributes.colour": ["a|b", "c"]})
    assert list(made.attributes["colour"].values) == ["a|b", "c"]


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("Tools>Saws", ["Tools", "Saws"]), ("Tools &gt; Saws", ["Tools", "Saws"]), ("Tools >  Saws ", ["Tools",
        "Saws"]),
        ("Tools » Saws", ["Tools", "Saws"]), ("Tools -> Saws", ["Tools", "Saws"]), ("Tools > > Saws >", ["Tools",
        "Saws"]),
        ("TV/Radio > 3/4 inch", ["TV/Radio", "3/4 inch"]), ("R&amp;D > A&B", ["R&D", "A&B"]), (["Tools", "Saws"],
        ["Tools", "Saws"]),
    ],
)  # fmt: skip
def test_levels_of_a_category(text: object, levels: list[str]) -> None:
    """ ">" separates levels with or without spaces; a slash belongs to the name; entities are decoded before."""
    assert list(product(category=text).category_path) == levels


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Saw &amp; bench, 12&quot;", 'Saw & bench, 12"'), ("5 &lt; 6 &#8211; &#x20AC;", "5 < 6 – €"),
        ("R&D & AT&TITLE &copy", "R&D & AT&TITLE &copy"), ("Black &amp;amp; white", "Black & white"), ("&nosuch;",
        "&nosuch;"),
    ],
)  # fmt: skip
def test_entities(text: str, meant: str) -> None:
    """HTML entities are decoded in every text but the id; an ampersand without a semicolon stays."""
    made = product(title=text, description=text, brand=text, **{"attributes.note": text, "localized_titles.en": text})
    assert {made.title, made.description, made.brand, made.localized_titles["en"], *made.attributes["note"].values} == {
        meant
    }
    assert product(id="A&amp;B").id == "A&amp;B"


@pytest.mark.parametrize(
    ("column", "field"),
    [
        (" Price ", "price"), ("PRICE", "price"), ("createdAt", "created_at"), ("Created at", "created_at"),
        ("price-floor", "price_floor"), ("Attributes.Shoe Size", "attributes.Shoe Size"), ("image", "image_uri"),
        ("localized_titles.zh-CN", "localized_titles.zh-CN"), ("prices", None), ("attributes.", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_columns(column: str, field: str | None) -> None:
    """A column is a field's if its name differs only in case, spaces, hyphens or camel case."""
    assert field_of(column) == field


def test_two_columns_for_one_field() -> None:
    """The exact name is preferred, and a column that --map names is preferred to both."""
    row = {"ID": "7", "id": "8", "title": "Shoe"}
    assert parse_mapping("", list(row), "USD").product(row).id == "8"
    assert parse_mapping("id=ID", list(row), "USD").product(row).id == "7"
    assert parse_mapping("id=Id,title=TITLE", ["ID", "title"], "USD").product({"ID": "7", "title": "x"}).id == "7"


def test_an_error_names_the_column() -> None:
    """If a column has another name than its field, the reason begins with it."""
    with pytest.raises(RowRefused, match="column Street Price: 'much'"):
        product(spec="price=Street Price", **{"Street Price": "much"})


def test_a_product_as_protobuf_writes_it() -> None:
    """The JSON of `kairos catalog get` is a row of a file."""
    made = product(
        brand="Nike", category="Shoes > Running", price="19.99 EUR", stock="5", created_at="2024-05-01",
        title_zh="跑步鞋", **{"attributes.colour": "red|white"},
    )  # fmt: skip
    for snake_case in (True, False):
        row = MessageToDict(made, preserving_proto_field_name=snake_case)
        assert parse_mapping("", None, "USD").product(row) == made


def test_the_first_rows_show_the_notation(tmp_path: Path) -> None:
    """A thousand that is ambiguous alone is read as the other rows of its file are; otherwise it is refused."""
    for other, units in (("19.99", 1299), ("5.50", 1299)):
        file = tmp_path / "p.csv"
        file.write_text(f'id,title,price,note\n1,a,"{other}",x\n2,b,"1,299",y\n')
        mapping, names = mapping_for(file, parse_mapping("", column_names(file), "USD"))
        assert names == ["id", "title", "price", "note"]
        assert [mapping.product(row.values).price.units for row in read_rows(file)][1] == units
    file.write_text('id,title,price\n1,a,"19,99"\n2,b,19.99\n3,c,"1,299"\n')
    mapping, _ = mapping_for(file, parse_mapping("", column_names(file), "USD"))
    with pytest.raises(RowRefused, match="may mean"):
        mapping.product({"id": "3", "title": "c", "price": "1,299"})
