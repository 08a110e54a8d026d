"""Shopify's export of products: the first row of a handle describes the product, each row with an option is a variant.

Rows that hold only a further picture are passed over. Both sets of column names that Shopify has used are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from catalog.files import Row
from catalog.layouts.layout import Layout, ReadRows, attribute_name, first_category, lower, parts, text_of
from services.common.limits import MAX_ID

# The newer names of columns, with the older ones.
_OLDER = {
    "url handle": "handle", "description": "body (html)", "published on online store": "published",
    "sku": "variant sku", "barcode": "variant barcode", "price": "variant price",
    "compare-at price": "variant compare at price", "inventory tracker": "variant inventory tracker",
    "inventory quantity": "variant inventory qty", "continue selling when out of stock": "variant inventory policy",
    "product image url": "image src", "variant image url": "variant image", "cost per item": "variant cost",
}  # fmt: skip
_OPTIONS = tuple(f"option{number}" for number in (1, 2, 3))
# Columns that belong to one row; the others are the product's, and stand in its first row only.
_OF_ROW = ("variant ", "image ", *(f"{option} value" for option in _OPTIONS))
_DERIVED = ("id", "item_group_id")
_VARIANT = ("title", "option1 value", "variant price", "variant sku")
_USED = frozenset({
    "handle", "type", "product category", "tags", "published", "status", "image src", "variant image",
    "variant inventory tracker", "variant inventory policy", "variant inventory qty",
    *(f"{option} {part}" for option in _OPTIONS for part in ("name", "value")),
})  # fmt: skip


def _matches(columns: Collection[str]) -> bool:
    names = set(map(_older, columns))
    return {"handle", "title"} <= names and bool(names & {"variant price", "variant sku", "option1 name"})


@lru_cache(maxsize=4_096)
def _older(column: str) -> str:
    name = lower(column)
    return _OLDER.get(name, name)


def _rows(read: ReadRows) -> Iterator[Row]:
    first: dict[str, Any] = {}
    for row in read():
        if row.problem:
            yield row
            continue
        cells = {_older(column): column for column in row.values}
        handle = text_of(row.values.get(cells.get("handle", "")))
        if handle != text_of(first.get("handle")):
            first = {}
        values = {
            column: first[name] if name in first and not text_of(row.values[column]) and _is_products(name) else cell
            for name, column in cells.items()
            for cell in (row.values[column],)
        }
        cells_by_name = {name: values[column] for name, column in cells.items()}
        first = first or cells_by_name
        if any(text_of(row.values[column]) for name, column in cells.items() if name in _VARIANT):
            made = _derived(handle, cells_by_name, first)
            yield Row(row.line, values | made, raw=row.raw, is_hidden=_is_hidden(cells_by_name))


def _is_products(name: str) -> bool:
    return not name.startswith(_OF_ROW)


def _is_hidden(cells: dict[str, Any]) -> bool:
    """A draft, an archived product, and one that is not published in the online store."""
    return text_of(cells.get("status")).lower() in ("draft", "archived", "unlisted") or (
        text_of(cells.get("published")).lower() in ("false", "no", "0")
    )


def _derived(handle: str, cells: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    options = dict(_options(cells))
    made: dict[str, Any] = {
        "id": _id(handle, list(options.values())),
        "item_group_id": handle,
        "variant_attributes": list(options),
        "image_uri": text_of(cells.get("variant image")) or text_of(first.get("image src")),
    } | {f"attributes.{name}": [value] for name, value in options.items()}
    kind = text_of(cells.get("type"))
    category = text_of(cells.get("product category"))
    made |= first_category([category or kind])
    if category and kind:
        made["attributes.type"] = [kind]
    if tags := parts(text_of(cells.get("tags")), ","):
        made["attributes.tags"] = tags
    made["stock"] = cells.get("variant inventory qty") if _is_counted(cells) else None
    return made


def _options(cells: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name of the attribute, value) of each option. A product without variants has "Title: Default Title"."""
    for option in _OPTIONS:
        name, value = text_of(cells.get(f"{option} name")), text_of(cells.get(f"{option} value"))
        if name and value and (name.lower(), value.lower()) != ("title", "default title"):
            yield attribute_name(name), value


def _is_counted(cells: dict[str, Any]) -> bool:
    """Whether stock is tracked and its end ends the sale."""
    tracked = "variant inventory tracker" not in cells or bool(text_of(cells["variant inventory tracker"]))
    return tracked and text_of(cells.get("variant inventory policy")).lower() not in ("continue", "true")


def _id(handle: str, values: list[str]) -> str:
    """The handle with the values of the options: `belt-red-small`. A long one ends with a digest of the whole."""
    if not handle:
        return ""
    whole = "-".join([handle, *("-".join(value.lower().split()) for value in values)])
    if len(whole) <= MAX_ID:
        return whole
    digest = hashlib.blake2b(whole.encode(), digest_size=8).hexdigest()
    return f"{whole[: MAX_ID - len(digest) - 1]}-{digest}"


SHOPIFY = Layout("Shopify", _matches, _rows, _DERIVED, lambda column: _older(column) in _USED)
