"""A product export of WooCommerce is read field by field: variations are products of their parent's group."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.rows import describe, read_rows
from kairos.common.v1 import common_pb2
from tests.unit.catalog.layouts import products_of, put, values

HEADER = (
    'ID,Type,SKU,"GTIN, UPC, EAN, or ISBN",Name,Published,"Is featured?","Visibility in catalog","Short description",'
    'Description,"Date sale price starts","Date sale price ends","In stock?",Stock,"Backorders allowed?","Sale price",'
    '"Regular price",Categories,Tags,Images,Parent,Brands,"Attribute 1 name","Attribute 1 value(s)",'
    '"Attribute 1 visible","Attribute 2 name","Attribute 2 value(s)","Meta: _note"\n'
)
PARENT = (
    '44,variable,wh,,Fern hoodie,1,0,visible,Short,"<p>Soft &amp; <i>warm</i></p>",,,1,,0,,,"Clothing > Hoodies, '
    'Clothing > Sale","soft, warm","https://x.example/a.jpg, https://x.example/b.jpg",,Fern,Color,"Blue, Green",1,'
    "Fabric,Cotton,zebra\n"
)
VARIATIONS = (
    '45,variation,wh-b,4006381333931,"Fern hoodie - Blue",1,0,visible,,,2026-06-01,2026-06-15,1,4,0,39,45.50,,,'
    "https://x.example/blue.jpg,id:44,,Color,Blue,1,,,\n"
    "46,variation,wh-g,,,1,0,visible,,,,,0,,0,,46,,,,wh,,Color,Green,1,,,\n"
)
SIMPLE = (
    '50,"simple, downloadable, virtual",song,,Song,1,0,visible,"A song",,,,1,,notify,,1.99,"Rock \\, Pop > Albums",,,,,'
    "Format,MP3 | FLAC,1,,,\n"
    "51,simple,draft,,Draft,-1,0,visible,,,,,1,,0,,5,,,,,,,,,,,\n"
    "52,simple,hidden,,Hidden,1,0,hidden,,,,,1,,0,,5,,,,,,,,,,,\n"
)


@pytest.mark.parametrize("rows", [PARENT + VARIATIONS, VARIATIONS + PARENT], ids=["parent first", "parent last"])
def test_variations(tmp_path: Path, rows: str) -> None:
    """A variation has its own fields, and those that it lacks from its parent, which is no product itself."""
    path = put(tmp_path, "wc.csv", HEADER + rows)
    assert describe(path).layout == "WooCommerce"
    blue, green = products_of(path, currency="GBP")
    assert (blue.id, blue.item_group_id, blue.sku, blue.gtin) == ("45", "44", "wh-b", "4006381333931")
    assert (green.id, green.item_group_id, green.sku) == ("46", "44", "wh-g")
    assert (blue.title, green.title) == ("Fern hoodie - Blue", "Fern hoodie")
    assert blue.price == common_pb2.Money(currency_code="GBP", units=45, nanos=500_000_000)
    assert (blue.stock, green.stock) == (4, 0)
    assert [made.image_uri for made in (blue, green)] == ["https://x.example/blue.jpg", "https://x.example/a.jpg"]
    for made in (blue, green):
        assert (made.description, made.brand, list(made.category_path)) == (
            "Soft & warm", "Fern", ["Clothing", "Hoodies"],
        )  # fmt: skip
        assert list(made.variant_attributes) == ["colour"]
    assert values(green) == {
        "colour": ["Green"], "fabric": ["Cotton"], "tags": ["soft", "warm"], "other_categories": ["Clothing > Sale"],
    }  # fmt: skip


def test_a_parent_without_variations_is_a_product(tmp_path: Path) -> None:
    """A variable product alone is imported with all values of its attributes."""
    (made,) = products_of(put(tmp_path, "wc.csv", HEADER + PARENT))
    assert (made.id, made.item_group_id, values(made)["colour"]) == ("44", "", ["Blue", "Green"])


def test_a_variation_without_its_parent(tmp_path: Path) -> None:
    """The group of a variation whose parent is not in the file is named as the file names it."""
    blue, green = products_of(put(tmp_path, "wc.csv", HEADER + VARIATIONS.replace("wh-g,,,", "wh-g,,Hoodie,")))
    assert (blue.item_group_id, green.item_group_id, list(blue.category_path)) == ("44", "wh", [])


def test_a_simple_product(tmp_path: Path) -> None:
    """An escaped comma belongs to its value; the short description stands in; backorders leave the stock open."""
    path = put(tmp_path, "wc.csv", HEADER + SIMPLE)
    (song,) = products_of(path)
    assert (song.id, song.title, song.description) == ("50", "Song", "A song")
    assert (list(song.category_path), values(song)) == (["Rock , Pop", "Albums"], {"format": ["MP3", "FLAC"]})
    assert not song.HasField("stock")
    assert [row.values["id"] for row in read_rows(path) if row.is_hidden] == ["51", "52"]
