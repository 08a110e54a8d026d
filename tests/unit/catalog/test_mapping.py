"""Columns of a shop's file become a product, or the row is refused with the wrong field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from catalog.columns import FIELDS, field_of
from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import RowRefused, column_names, read_rows
from kairos.common.v1 import product_pb2
from services.common.convert import product_from_proto
from services.common.product import violations

ROW = {"id": "1", "title": "Shoe"}


def product(spec: str = "", currency: str = "USD", **row: Any) -> product_pb2.Product:
    values = ROW | row
    return parse_mapping(spec, list(values), currency).product(values)


def dropped(**row: Any) -> tuple[product_pb2.Product, list[str]]:
    """(the product, the fields that were left out)."""
    values, fields = ROW | row, []
    made = parse_mapping("", list(values), "USD").product(values, lambda field, reason: fields.append(field))
    return made, fields


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


def test_a_wrong_currency_of_a_row() -> None:
    """With an unknown currency only amounts that name their own are read; a cell in another currency than its column is
    left out.
    """
    made, fields = dropped(price="5", currency="coins")
    assert (made.HasField("price"), fields) == (False, ["currency", "price.currency_code"])
    assert dropped(price="5 EUR", currency="coins")[0].price.currency_code == "EUR"
    made, fields = dropped(price="5 USD", currency="EUR")
    assert (made.HasField("price"), fields) == (False, ["price"])


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
    "row",
    [{"id": " "}, {"id": "x" * 129}, {"id": [["1"]]}, {"title": ""}, {"title": {"en": "Shoe"}}, {"title": "x" * 1_001},
     {"title": "<br>"}],
    ids=lambda row: str(row)[:30],
)  # fmt: skip
def test_a_row_without_id_or_title(row: dict[str, Any]) -> None:
    """A missing or wrong id or title refuses the row, and the field is named."""
    with pytest.raises(RowRefused) as caught:
        product(**row)
    assert [caught.value.field] == list(row)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"price": "Infinity"}, "price"), ({"price": "-1"}, "price"), ({"price": "cheap"}, "price"),
        ({"price": "1.299"}, "price"), ({"price": "5-10"}, "price"), ({"price": True}, "price"),
        ({"price": {"amount": 5}}, "price"), ({"price": "1e30"}, "price"), ({"price": "1e999999"}, "price"),
        ({"cost": "-0.01"}, "cost"), ({"cost": "5"}, "cost"), ({"stock": "2.5"}, "stock"), ({"stock": "many"}, "stock"),
        ({"stock": "9" * 30}, "stock"), ({"availability": "perhaps"}, "availability"),
        ({"created_at": "yesterday"}, "created_at"), ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        ({"attributes": "red"}, "attributes"), ({"attributes": "[1]"}, "attributes"), ({"brand": [["Nike"]]}, "brand"),
        ({"brand": "x" * 257}, "brand"), ({"gtin": "4006381333932"}, "gtin"), ({"gtin": "12345"}, "gtin"),
        ({"description": "x" * 20_001}, "description"), ({"image_uri": "x" * 2_049}, "image_uri"),
        ({"category": ">".join("abcdefghi")}, "category_path"), ({"attributes.note": "x" * 129}, "attributes.note"),
        ({"attributes." + "x" * 65: "y"}, "attributes." + "x" * 65), ({"localized_titles.?": "y"}, "localized_titles"),
        ({"item_group_id": "x" * 129}, "item_group_id"), ({"variant_attributes": ["x" * 65]}, "variant_attributes"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_wrong_value_is_left_out(row: dict[str, Any], field: str) -> None:
    """A wrong value of an optional field is left out with a warning that names the field; the product stays."""
    made, fields = dropped(brand="Nike", **row) if "brand" not in row else dropped(**row)
    assert fields == [field]
    assert made == product_pb2.Product(id="1", title="Shoe", brand="" if "brand" in row else "Nike")


def test_what_depends_on_a_wrong_value_is_left_out_too() -> None:
    """Without its price a product has no cost and no bounds of prices; a floor above its ceiling is left out alone."""
    made, fields = dropped(price="cheap", cost="5", price_floor="4")
    assert (made, fields) == (product_pb2.Product(id="1", title="Shoe"), ["price", "price_floor", "cost"])
    made, fields = dropped(price="5", price_floor="4", price_ceiling="3")
    assert (made.HasField("price_floor"), made.HasField("price_ceiling"), fields) == (False, True, ["price_floor"])
    made, fields = dropped(price="5", price_floor="6", minimum_advertised_price="7")
    assert (made.HasField("price"), fields) == (True, ["minimum_advertised_price", "price_floor"])


def test_long_lists_keep_their_beginning() -> None:
    """Of too many values, attributes or languages those within the limit stay, and so do values beside a wrong one."""
    made, fields = dropped(**{"attributes.tag": [str(n) for n in range(40)]})
    assert (list(made.attributes["tag"].values), fields) == ([str(n) for n in range(32)], ["attributes.tag"])
    made, fields = dropped(attributes={f"a{n:02}": "x" for n in range(70)})
    assert (sorted(made.attributes), fields) == ([f"a{n:02}" for n in range(64)], ["attributes"])
    made, fields = dropped(**{"attributes.tag": ["a", "x" * 200, "b", "y" * 200]})
    assert (list(made.attributes["tag"].values), fields) == (["a", "b"], ["attributes.tag"] * 2)


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
    """Any row is either a product that the contract allows, or refused for its id or title."""
    made, wrong = product_pb2.Product(id="1", title="Shoe"), "id"
    try:
        made = parse_mapping("", None, "USD").product(row)
    except RowRefused as refused:
        wrong = refused.field
    assert wrong in ("id", "title")
    assert not violations(product_from_proto(made, "product"))


@pytest.mark.parametrize(
    "word",
    ["", " ", "\u00a0", "\u200b", "NaN", "nan", "null", "NULL", "N/A", "#N/A", "None", "none", "-", None, float("nan")],
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


def test_several_categories_in_a_cell() -> None:
    """Of paths between vertical bars the first is the category, and the others are an attribute."""
    made = product(category="Tools > Saws | Garden > Pruning | Sale")
    assert list(made.category_path) == ["Tools", "Saws"]
    assert list(made.attributes["other_categories"].values) == ["Garden > Pruning", "Sale"]
    made = product(category="Tools | Saws")
    assert (list(made.category_path), len(made.attributes)) == (["Tools", "Saws"], 0)


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
        ("Vendor", "brand"), ("Product Name", "title"), ("EAN", "gtin"), ("image link", "image_uri"),
        ("Color", "attributes.colour"), ("Body (HTML)", "description"), ("Date sale price starts", "sale_starts_at"),
    ],
)  # fmt: skip
def test_names_of_columns(column: str, field: str | None) -> None:
    """A column is a field's if its name differs in case, spaces or hyphens only, or is a usual other one."""
    assert field_of(column) == field


def test_a_column_that_a_person_has_named_is_not_guessed_again() -> None:
    """`upc` as the id is not the GTIN as well; a field's own name is preferred to a usual other one."""
    row = {"upc": "4006381333931", "name": "Pen", "title": "Fine pen"}
    made = parse_mapping("id=upc", list(row), "USD").product(row)
    assert (made.id, made.gtin, made.title) == ("4006381333931", "", "Fine pen")


@pytest.mark.parametrize(
    "cell", ["4006381333931", " 400-6381-3339 31 ", "'4006381333931", 4006381333931, 4006381333931.0]
)  # fmt: skip
def test_a_gtin_as_shops_write_it(cell: object) -> None:
    """Blanks, dashes and the apostrophe of a spreadsheet are removed, and a number is its digits."""
    assert product(gtin=cell).gtin == "4006381333931"


@pytest.mark.parametrize(
    ("cells", "stock"),
    [
        ({"stock": "5", "availability": "in stock"}, 5), ({"stock": "5", "availability": "out of stock"}, 0),
        ({"availability": "preorder"}, 0), ({"availability": "in_stock"}, None), ({"stock": "-2"}, 0),
        ({"stock": "0", "availability": "in stock"}, 0), ({"In stock?": "1"}, None), ({"In stock?": "0"}, 0),
    ],
)  # fmt: skip
def test_stock_and_availability(cells: dict[str, str], stock: int | None) -> None:
    """What cannot be had has a stock of 0; availability alone gives no number."""
    made = product(**cells)
    assert (made.stock if made.HasField("stock") else None) == stock


def test_groups_and_identifiers() -> None:
    """Group, varying attributes and codes are read from columns with their names; codes are taken as they are."""
    made = product(item_group_id="g<b>1", variant_attributes="Colour, size", sku="A&amp;1", mpn="M<i>2")
    assert (made.item_group_id, list(made.variant_attributes)) == ("g<b>1", ["colour", "size"])
    assert (made.sku, made.mpn) == ("A&amp;1", "M<i>2")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('<p>Oak &amp; ash</p><div class="zebra">solid</div>', "Oak & ash solid"), ("&lt;b&gt;Oak&lt;/b&gt;", "Oak"),
        ("So<b>lid</b> oak<br/>table", "Solid oak table"), ("Oak<script>var zebra</script><style>p{}</style>", "Oak"),
        ("<ul><li>Oak</li><li>Ash</li></ul>", "Oak Ash"), ("I <3 oak, 5 < 6 > 4", "I <3 oak, 5 < 6 > 4"),
        ("Oak <!-- zebra --> table", "Oak table"), ("<h1 onclick='zebra()'>Oak</h1>", "Oak"), ("Oak <unknown>",
        "Oak <unknown>"), ("<p>5 &lt; 6 and R&amp;D</p>", "5 < 6 and R&D"), ("<p>Oak", "Oak"),
    ],
)  # fmt: skip
def test_html(text: str, meant: str) -> None:
    """Tags, their attributes, scripts and comments are no text; signs that are no tags stay."""
    made = product(description=text, title=f"x {text}", **{"attributes.note": text})
    assert (made.description, made.title, list(made.attributes["note"].values)) == (meant, f"x {meant}", [meant])


def test_two_columns_for_one_field() -> None:
    """The exact name is preferred, and a column that --map names is preferred to both."""
    row = {"ID": "7", "id": "8", "title": "Shoe"}
    assert parse_mapping("", list(row), "USD").product(row).id == "8"
    assert parse_mapping("id=ID", list(row), "USD").product(row).id == "7"
    assert parse_mapping("id=Id,title=TITLE", ["ID", "title"], "USD").product({"ID": "7", "title": "x"}).id == "7"


def test_an_error_names_the_column() -> None:
    """If a column has another name than its field, the reason begins with it."""
    row, reasons = ROW | {"Street Price": "much"}, []
    parse_mapping("price=Street Price", list(row), "USD").product(row, lambda field, reason: reasons.append(reason))
    assert reasons[0].startswith("column Street Price: 'much'")


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
    reasons: list[str] = []
    made = mapping.product({"id": "3", "title": "c", "price": "1,299"}, lambda field, reason: reasons.append(reason))
    assert (made.HasField("price"), "may mean" in reasons[0]) == (False, True)
