"""A feed for Google Merchant Center is read field by field, in RSS, Atom and tab-separated text."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.rows import describe
from kairos.common.v1 import common_pb2
from tests.unit.catalog.layouts import products_of, put, values

_ITEM = """
  <g:id>vela-r-38</g:id>
  <title>Vela sandal</title>
  <description>&lt;p&gt;Cork &amp;amp; leather&lt;/p&gt;</description>
  {link}
  <g:image_link>https://shop.example/vela-r.jpg</g:image_link>
  <g:additional_image_link>https://shop.example/vela-2.jpg</g:additional_image_link>
  <g:additional_image_link>https://shop.example/vela-3.jpg</g:additional_image_link>
  <g:price>89.50 EUR</g:price>
  <g:sale_price>71.60 EUR</g:sale_price>
  <g:sale_price_effective_date>2026-06-01T00:00+02:00/2026-06-15T00:00+02:00</g:sale_price_effective_date>
  <g:availability>in_stock</g:availability>
  <g:brand>Orso</g:brand>
  <g:gtin>4006381333931</g:gtin>
  <g:mpn>OR-771</g:mpn>
  <g:item_group_id>vela</g:item_group_id>
  <g:color>Rust/Sand</g:color>
  <g:size>38</g:size>
  <g:material>leather/cork</g:material>
  <g:gender>female</g:gender>
  <g:age_group>adult</g:age_group>
  <g:condition>new</g:condition>
  <g:product_type>Shoes &gt; Sandals</g:product_type>
  <g:product_type>Summer &gt; Beach</g:product_type>
  <g:google_product_category>187</g:google_product_category>
  <g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping>
  <g:product_detail>
    <g:section_name>General</g:section_name>
    <g:attribute_name>Heel</g:attribute_name>
    <g:attribute_value>3 cm</g:attribute_value>
  </g:product_detail>
"""
RSS = f"""<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>
<title>A shop</title><link>https://shop.example</link><description>All</description>
<item>{_ITEM.format(link="<link>https://shop.example/vela</link>")}</item>
<item><g:id>lamp</g:id><title>A lamp</title><g:title>Lamp Nova</g:title><g:availability>out_of_stock</g:availability>
<g:google_product_category>Home &gt; Lighting</g:google_product_category><g:color></g:color></item>
</channel></rss>"""
ATOM = f"""<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>A shop</title>
<entry><id>tag:shop.example,2026:1</id>{_ITEM.format(link='<link href="https://shop.example/vela"/>')}</entry></feed>"""
_HEADER = (
    "id", "title", "description", "link", "image link", "price", "sale price", "sale price effective date",
    "availability", "brand", "gtin", "mpn", "item group id", "color", "size", "material", "gender", "age group",
    "condition", "product type", "google product category", "product detail",
)  # fmt: skip
_CELLS = (
    "vela-r-38", "Vela sandal", "<p>Cork &amp; leather</p>", "https://shop.example/vela",
    "https://shop.example/vela-r.jpg", "89.50 EUR", "71.60 EUR", "2026-06-01T00:00+02:00/2026-06-15T00:00+02:00",
    "in stock", "Orso", "4006381333931", "OR-771", "vela", "Rust/Sand", "38", "leather/cork", "female", "adult", "new",
    "Shoes > Sandals", "187", "General:Heel:3 cm",
)  # fmt: skip
TSV = "\t".join(_HEADER) + "\n" + "\t".join(_CELLS) + "\n"


@pytest.mark.parametrize(("name", "text"), [("f.xml", RSS), ("f.xml", ATOM), ("f.tsv", TSV), ("f.txt", TSV)])
def test_every_field(tmp_path: Path, name: str, text: str) -> None:
    """Each field of the feed becomes the field of the product that it means."""
    path = put(tmp_path, name, text)
    made = products_of(path)[0]
    assert describe(path).layout == "Google Merchant"
    assert (made.id, made.title, made.description) == ("vela-r-38", "Vela sandal", "Cork & leather")
    assert made.image_uri == "https://shop.example/vela-r.jpg"
    assert made.price == common_pb2.Money(currency_code="EUR", units=89, nanos=500_000_000)
    assert (made.brand, made.gtin, made.mpn, made.item_group_id) == ("Orso", "4006381333931", "OR-771", "vela")
    assert list(made.category_path) == ["Shoes", "Sandals"]
    assert list(made.variant_attributes) == ["colour", "size", "material"]
    assert not made.HasField("stock")
    assert {name: found for name, found in values(made).items() if name != "other_categories"} == {
        "colour": ["Rust", "Sand"], "size": ["38"], "material": ["leather", "cork"], "gender": ["female"],
        "age_group": ["adult"], "condition": ["new"], "heel": ["3 cm"],
    }  # fmt: skip


def test_further_categories(tmp_path: Path) -> None:
    """The first product type is the category, others are an attribute, and Google's own path is the last choice."""
    sandal, lamp = products_of(put(tmp_path, "f.xml", RSS))
    assert values(sandal)["other_categories"] == ["Summer > Beach"]
    assert (list(lamp.category_path), lamp.stock, lamp.title) == (["Home", "Lighting"], 0, "Lamp Nova")
    assert not lamp.attributes


def test_a_file_with_some_names_of_google_is_plain(tmp_path: Path) -> None:
    """A colour with a slash is one value in a file that is not for Google."""
    (made,) = products_of(put(tmp_path, "p.csv", "id,title,color\n1,Ball,Red/White\n"))
    assert values(made) == {"colour": ["Red/White"]}
