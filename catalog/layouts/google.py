"""Google Merchant Center: items of RSS or Atom, or a file with the same names as columns (`image_link`, `image link`).

https://support.google.com/merchants/answer/7052112 describes the fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from catalog.files import Row
from catalog.layouts.layout import Layout, ReadRows, attribute_name, first_category, lower, parts, text_of

# A file with id, title and two of these is a feed for Google.
_TYPICAL = frozenset({
    "link", "image_link", "availability", "condition", "google_product_category", "product_type", "item_group_id",
    "sale_price_effective_date", "shipping_weight", "identifier_exists", "mobile_link", "custom_label_0",
})  # fmt: skip
# Attributes, by what separates several values in one cell. The first four are those in which variants differ.
_SEPARATORS = {
    "color": "/", "size": "", "material": "/", "pattern": "", "gender": "", "age_group": "", "condition": "",
    "size_type": "", "size_system": "", "energy_efficiency_class": "", "multipack": "", "is_bundle": "",
}  # fmt: skip
_VARIANT = ("color", "size", "material", "pattern")
_SALE_DATES = "sale_price_effective_date"
_USED = {*_SEPARATORS, "product_type", "google_product_category", "product_detail", _SALE_DATES}


def google_name(column: str) -> str:
    """The field's name as Google writes it: `g:image link` is `image_link`."""
    return lower(column).removeprefix("g:").replace(" ", "_")


def _matches(columns: Collection[str]) -> bool:
    names = set(map(google_name, columns))
    return {"id", "title"} <= names and len(names & _TYPICAL) >= 2


def _rows(read: ReadRows) -> Iterator[Row]:
    for row in read():
        cells = {google_name(column): value for column, value in row.values.items()}
        yield row if row.problem else Row(row.line, {**row.values, **_derived(cells)}, raw=row.raw)


def _derived(cells: dict[str, Any]) -> dict[str, Any]:
    made = first_category(_categories(cells))
    for name, separator in _SEPARATORS.items():
        values = [value for cell in _list(cells.get(name)) for value in _values(cell, separator)]
        if values:
            made[f"attributes.{attribute_name(name)}"] = values
    for name, value in _details(cells.get("product_detail")):
        made.setdefault(f"attributes.{attribute_name(name)}", []).append(value)
    if text_of(cells.get("item_group_id")):
        made["variant_attributes"] = [
            attribute_name(name) for name in _VARIANT if f"attributes.{attribute_name(name)}" in made
        ]
    start, slash, end = text_of(cells.get(_SALE_DATES)).partition("/")
    if slash:
        made |= {"sale_starts_at": start, "sale_ends_at": end}
    return made


def _categories(cells: dict[str, Any]) -> list[str]:
    """The shop's own categories before Google's. A number of Google's taxonomy is no path."""
    own = [text_of(value) for value in _list(cells.get("product_type"))]
    googles = [text_of(value) for value in _list(cells.get("google_product_category"))]
    paths = [*own, *(path for path in googles if not path.isdigit())]
    return list(dict.fromkeys(filter(None, paths)))


def _details(value: Any) -> Iterator[tuple[str, str]]:
    """(name, value) of each product detail: an object in XML; `section:name:value`, separated by commas, in text."""
    for detail in _list(value):
        if isinstance(detail, dict):
            name, said = text_of(detail.get("attribute_name")), text_of(detail.get("attribute_value"))
            if name and said:
                yield name, said
            continue
        for part in parts(text_of(detail), ","):
            pieces = [piece.strip() for piece in part.split(":", 2)]
            if len(pieces) == 3 and pieces[1] and pieces[2]:
                yield pieces[1], pieces[2]


def _values(cell: Any, separator: str) -> list[str]:
    text = text_of(cell)
    return parts(text, separator) if separator else [text] if text else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


GOOGLE = Layout("Google Merchant", _matches, _rows, (), lambda column: google_name(column) in _USED)
