"""WooCommerce's export of products. A variation is a product in the group of its parent, and has what it lacks from it.

The parent itself is a product only if the file has no variation of it. Parents may stand before or after their
variations: the file is read twice, and parents are kept in a temporary database, not in memory.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import lru_cache
from typing import Any

from catalog.files import Row
from catalog.layouts.layout import Layout, ReadRows, attribute_name, first_category, lower, parts, text_of

_ATTRIBUTE = re.compile(r"attribute (\d{1,3}) (name|value\(s\))")
_USED = re.compile(
    r"id|parent|type|published|visibility in catalog|description|short description|categories|tags|images|brands|stock|"
    r"in stock\?|backorders allowed\?|attribute \d{1,3} .*"
)
# A variation has these from its parent if its own cell is empty.
_INHERITED = (
    "name", "short description", "description", "regular price", "categories", "tags", "images", "brands",
    "gtin, upc, ean, or isbn", "stock",
)  # fmt: skip
_DERIVED = ("id", "item_group_id")


def _matches(columns: Collection[str]) -> bool:
    return {"id", "type", "name", "regular price"} <= set(map(lower, columns))


@lru_cache(maxsize=4_096)
def _lower(column: str) -> str:
    return lower(column)


def _rows(read: ReadRows) -> Iterator[Row]:
    with closing(_Parents(read)) as parents:
        for row in read():
            cells = {_lower(column): value for column, value in row.values.items()}
            if row.problem:
                yield row
            elif _kind(cells) == "variation":
                group, parent = parents.of(cells)
                yield _variation(row, cells, group, parent)
            elif _kind(cells) != "variable" or not parents.has_variations(cells):
                made = _derived(cells, _attributes(cells))
                yield Row(row.line, row.values | made, raw=row.raw, is_hidden=_is_hidden(cells))


class _Parents:
    """Variable products by ID and by SKU, and which of them have variations in the file."""

    def __init__(self, read: ReadRows) -> None:
        # Without a name SQLite keeps the database in a temporary file, and removes it at the end.
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE parents (id TEXT PRIMARY KEY, cells TEXT)")
        self._database.execute("CREATE TABLE ids_by_sku (sku TEXT PRIMARY KEY, id TEXT)")
        self._database.execute("CREATE TABLE referenced (reference TEXT PRIMARY KEY)")
        for row in read():
            cells = {_lower(column): value for column, value in row.values.items()}
            id = text_of(cells.get("id"))
            if _kind(cells) == "variable":
                kept = {name: value for name, value in cells.items() if value not in ("", None)}
                self._add("parents", id, json.dumps(kept, default=str))
                self._add("ids_by_sku", text_of(cells.get("sku")), id)
            elif _kind(cells) == "variation":
                self._add("referenced", text_of(cells.get("parent")))

    def of(self, cells: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """(the parent's ID, its cells) of a variation, whose cell is "id:44" or the parent's SKU. Without the parent
        in the file the group is named as the cell names it.
        """
        reference = text_of(cells.get("parent"))
        group = reference.removeprefix("id:")
        if not reference.startswith("id:"):
            group = self._one("SELECT id FROM ids_by_sku WHERE sku = ?", reference) or reference
        found = self._one("SELECT cells FROM parents WHERE id = ?", group)
        return group, json.loads(found) if found else {}

    def has_variations(self, cells: dict[str, Any]) -> bool:
        names = (f"id:{text_of(cells.get('id'))}", text_of(cells.get("sku")))
        return any(name and self._one("SELECT reference FROM referenced WHERE reference = ?", name) for name in names)

    def close(self) -> None:
        self._database.close()

    def _add(self, table: str, *values: str) -> None:
        self._database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    def _one(self, query: str, key: str) -> str:
        found = self._database.execute(query, (key,)).fetchone()
        return str(found[0]) if found else ""


def _variation(row: Row, own: dict[str, Any], group: str, parent: dict[str, Any]) -> Row:
    cells = own | {name: parent[name] for name in _INHERITED if name in parent and not text_of(own.get(name))}
    if text_of(own.get("stock")).lower() == "parent":
        cells["stock"] = parent.get("stock")
    varying = _attributes(own)
    made = _derived(cells, _attributes(parent) | varying)
    made |= {"item_group_id": group, "variant_attributes": list(varying)}
    inherited = {column: cells[_lower(column)] for column in row.values}
    return Row(row.line, inherited | made, raw=row.raw, is_hidden=_is_hidden(own) or _is_hidden(parent))


def _kind(cells: dict[str, Any]) -> str:
    """`simple` for "simple, downloadable, virtual"."""
    return text_of(cells.get("type")).lower().partition(",")[0].strip()


def _is_hidden(cells: dict[str, Any]) -> bool:
    """A draft (-1), a private product (0), and one that the catalogue hides. An empty cell hides nothing."""
    return text_of(cells.get("published")) in ("0", "-1") or (
        text_of(cells.get("visibility in catalog")).lower() == "hidden"
    )


def _attributes(cells: dict[str, Any]) -> dict[str, list[str]]:
    """The values of each attribute; names without a value are left out."""
    names: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for column, cell in cells.items():
        if match := _ATTRIBUTE.fullmatch(column):
            if match[2] == "name":
                names[match[1]] = attribute_name(text_of(cell))
            else:
                values[match[1]] = parts(text_of(cell), ",|")
    return {name: values[number] for number, name in names.items() if name and values.get(number)}


def _derived(cells: dict[str, Any], attributes: dict[str, list[str]]) -> dict[str, Any]:
    made: dict[str, Any] = {f"attributes.{name}": values for name, values in attributes.items()}
    made |= first_category(parts(text_of(cells.get("categories")), ","))
    if tags := parts(text_of(cells.get("tags")), ","):
        made["attributes.tags"] = tags
    brands = parts(text_of(cells.get("brands")), ",")
    return made | {
        "id": text_of(cells.get("id")),
        "item_group_id": "",
        "brand": brands[0].rpartition(">")[2].strip() if brands else "",
        "image_uri": next(iter(parts(text_of(cells.get("images")), ",")), ""),
        "stock": _stock(cells),
        "description": text_of(cells.get("description")) or text_of(cells.get("short description")),
    }


def _stock(cells: dict[str, Any]) -> Any:
    """None: not counted. With backorders the product can be had at any stock."""
    if text_of(cells.get("in stock?")).lower() in ("0", "no", "false"):
        return 0
    if text_of(cells.get("backorders allowed?")).lower() in ("1", "yes", "notify"):
        return None
    return cells.get("stock")


WOOCOMMERCE = Layout("WooCommerce", _matches, _rows, _DERIVED, lambda column: bool(_USED.fullmatch(_lower(column))))
