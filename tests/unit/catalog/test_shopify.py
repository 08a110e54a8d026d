"""A product export of Shopify is read field by field: one product a variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.rows import column_names, describe, read_rows
from kairos.common.v1 import common_pb2, product_pb2
from tests.unit.catalog.layouts import products_of, put, values

OLD = """\
Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,\
Option2 Value,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Inventory Policy,Variant Price,\
Variant Compare At Price,Variant Barcode,Image Src,Variant Image,Status,Cost per item
vest,Fell vest,"<p>Warm &amp; <b>light</b></p><div class=""zebra"">down</div>",Ridge,Apparel > Vests,Vests,\
"winter, down",TRUE,Color,Moss,Size,S,V-M-S,shopify,7,deny,120.00,150.00,'4006381333931,https://x.example/1.jpg,https://x.example/m.\
jpg,active,60
vest,,,,,,,,,Moss,,M,V-M-M,shopify,-1,deny,120.00,,,,,,
vest,,,,,,,,,Rust,,M,V-R-M,shopify,0,continue,125.00,,,,https://x.example/r.jpg,,
vest,,,,,,,,,,,,,,,,,,,https://x.example/2.jpg,,,
mug,Tin mug,,Ridge,,Mugs,,TRUE,Title,Default Title,,,,,,deny,9.50,,,https://x.example/mug.jpg,,active,
old,Old mug,,Ridge,,Mugs,,TRUE,Title,Default Title,,,,,,deny,9.50,,,,,draft,
gone,Gone mug,,Ridge,,Mugs,,FALSE,Title,Default Title,,,,,,deny,9.50,,,,,active,
"""
# The names that Shopify uses today.
_NEWER = {
    "Handle": "URL handle", "Body (HTML)": "Description", "Product Category": "Product category",
    "Published": "Published on online store", "Variant SKU": "SKU", "Variant Barcode": "Barcode",
    "Option1 Name": "Option1 name", "Option1 Value": "Option1 value", "Option2 Name": "Option2 name",
    "Option2 Value": "Option2 value", "Variant Inventory Tracker": "Inventory tracker",
    "Variant Inventory Qty": "Inventory quantity", "Variant Inventory Policy": "Continue selling when out of stock",
    "Variant Price": "Price", "Variant Compare At Price": "Compare-at price", "Image Src": "Product image URL",
    "Variant Image": "Variant image URL",
}  # fmt: skip


def newer(text: str) -> str:
    header, _, rows = text.partition("\n")
    return ",".join(_NEWER.get(name, name) for name in header.split(",")) + "\n" + rows


@pytest.fixture(params=[OLD, newer(OLD)], ids=["older names", "newer names"])
def export(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return put(tmp_path, "products_export.csv", request.param)


def test_every_field(export: Path) -> None:
    """Each variant has the fields of its row, and those of the product from the first row of its handle."""
    assert describe(export).layout == "Shopify"
    first = products_of(export)[0]
    assert (first.id, first.item_group_id, first.sku) == ("vest-moss-s", "vest", "V-M-S")
    assert (first.title, first.description, first.brand) == ("Fell vest", "Warm & light down", "Ridge")
    assert list(first.category_path) == ["Apparel", "Vests"]
    assert first.price == common_pb2.Money(currency_code="USD", units=120)
    assert first.cost == common_pb2.Money(currency_code="USD", units=60)
    assert (first.stock, first.gtin, first.image_uri) == (7, "4006381333931", "https://x.example/m.jpg")
    assert list(first.variant_attributes) == ["colour", "size"]
    assert values(first) == {"colour": ["Moss"], "size": ["S"], "type": ["Vests"], "tags": ["winter", "down"]}


def test_variants(export: Path) -> None:
    """Further rows of a handle are variants of the same group with the texts of the first; rows of pictures are not."""
    vests = [made for made in products_of(export) if made.item_group_id == "vest"]
    assert [made.id for made in vests] == ["vest-moss-s", "vest-moss-m", "vest-rust-m"]
    assert {(made.title, made.brand, made.description) for made in vests} == {
        ("Fell vest", "Ridge", "Warm & light down")
    }
    assert [values(made)["size"] for made in vests] == [["S"], ["M"], ["M"]]
    assert [made.image_uri[-5:] for made in vests] == ["m.jpg", "1.jpg", "r.jpg"]


def test_stock(export: Path) -> None:
    """A negative stock is 0; a variant that is sold beyond its stock, and one that is not tracked, have no stock."""
    stocks = {made.id: made.stock if made.HasField("stock") else None for made in products_of(export)}
    assert stocks == {"vest-moss-s": 7, "vest-moss-m": 0, "vest-rust-m": None, "mug": None}


def test_a_product_without_variants(export: Path) -> None:
    """The option "Title: Default Title" is none, and the type is the category without another one."""
    (mug,) = [made for made in products_of(export) if made.id == "mug"]
    assert mug == product_pb2.Product(
        id="mug", item_group_id="mug", title="Tin mug", brand="Ridge", category_path=["Mugs"],
        price=common_pb2.Money(currency_code="USD", units=9, nanos=500_000_000), image_uri="https://x.example/mug.jpg",
    )  # fmt: skip


def test_what_the_shop_hides(export: Path) -> None:
    """Drafts and unpublished products are known as hidden."""
    assert [row.values["id"] for row in read_rows(export) if row.is_hidden] == ["old", "gone"]


def test_another_id(tmp_path: Path) -> None:
    """The SKU, or any other column, can be named as the id."""
    vests = "\n".join(OLD.splitlines()[:4])
    made = products_of(put(tmp_path, "p.csv", vests), "id=Variant SKU")
    assert [product.id for product in made] == ["V-M-S", "V-M-M", "V-R-M"]


def test_a_long_id(tmp_path: Path) -> None:
    """An id that would be too long ends with a digest, so that variants stay apart."""
    rows = "".join(f"{'h' * 120},x,Size,very long {n},5\n" for n in range(2))
    path = put(tmp_path, "p.csv", f"Handle,Title,Option1 Name,Option1 Value,Variant Price\n{rows}")
    ids = [made.id for made in products_of(path)]
    assert len(set(ids)) == 2
    assert all(len(id) == 128 for id in ids)
    assert {"id", "item_group_id"} < set(column_names(path) or ())
