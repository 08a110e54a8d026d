"""Sets the fields of a product from the cells of a row."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from catalog.columns import TEXTS
from catalog.dates import parse_time
from catalog.files import RowRefused
from catalog.numbers import Notation, cut, parse_stock
from catalog.text import is_missing, plain_text, stripped
from kairos.common.v1 import product_pb2

CATEGORY_SEPARATOR = ">"
# Also what typographic programs write for ">".
_LEVELS = re.compile(r"\s*(?:-*>|»|›|→)\s*")
# Codes and addresses: a text that looks like a tag is part of them.
_VERBATIM = ("id", "item_group_id", "sku", "mpn", "image_uri")


def set_field(
    product: product_pb2.Product, field: str, values: Sequence[Any], notation: Notation, separator: str
) -> None:
    """Sets one field, which is no amount of money. `separator`: between the levels of a category. Raises RowRefused."""
    if field == "gtin":
        product.gtin = _gtin(one(values))
    elif field in _VERBATIM:
        setattr(product, field, stripped(" ".join(_text(field, value) for value in values)))
    elif field in TEXTS:
        setattr(product, field, _joined(field, values))
    elif field == "category":
        _set_category(product, values, separator)
    elif field in ("stock", "availability"):
        _set_stock(product, field, one(values), notation)
    elif field == "created_at":
        product.created_at.FromDatetime(parse_time(field, one(values)))
    elif field == "variant_attributes":
        names = (name for value in values for name in re.split(r"[,;|]", _joined(field, [value])))
        product.variant_attributes.extend(stripped(name).lower() for name in names if not is_missing(name))
    elif field == "attributes":
        for name, entries in _object(field, values[0]).items():
            _add_attribute(product, name, flat(entries))
    elif field.startswith("attributes."):
        _add_attribute(product, field.partition(".")[2], values)
    else:
        kind, _, language = field.partition(".")
        texts = {language: _joined(field, values)} if language else _object(field, values[0])
        for code, text in texts.items():
            if not is_missing(text):
                getattr(product, kind)[code] = _joined(field, [text])


def one(values: Sequence[Any]) -> Any:
    """The value of a cell, or the joined text of several columns: an amount and its currency."""
    return values[0] if len(values) == 1 else " ".join(str(value).strip() for value in values)


def flat(value: Any) -> list[Any]:
    """The values of a cell: JSON and Parquet may have a list, CSV has one text."""
    return value if isinstance(value, list) else [value]


def split_cell(cell: Any, separator: str) -> Any:
    """The values of a cell of text; a list of JSON or Parquet stays as it is."""
    return plain_text(cell).split(separator) if isinstance(cell, str) else cell


def _set_stock(product: product_pb2.Product, field: str, value: Any, notation: Notation) -> None:
    """A product that cannot be had has a stock of 0, whatever number another column gives."""
    stock = parse_stock(field, value, notation)
    if stock is not None and (field == "stock" or stock == 0):
        product.stock = 0 if product.HasField("stock") and product.stock == 0 else stock


def _gtin(value: Any) -> str:
    """The digits, without blanks, dashes, and the apostrophe with which spreadsheets mark a text."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else _text("gtin", value)
    return re.sub(r"[\s‐‑–-]", "", stripped(text).lstrip("'"))


def _joined(field: str, values: Sequence[Any]) -> str:
    return " ".join(stripped(plain_text(_text(field, value))) for value in values)


def _text(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float | Decimal | date):
        raise RowRefused(field, f"{cut(value)} is not a text")
    return str(value)


def _set_category(product: product_pb2.Product, values: Sequence[Any], separator: str) -> None:
    """`A > B | C > D` are two categories: the first is the path, the other an attribute. `A | B` are two levels."""
    paths = [[level for value in values for level in _levels(value, separator)]]
    if len(values) == 1 and isinstance(values[0], str) and "|" in values[0] and separator.strip() != "|":
        parts = [_levels(part, separator) for part in plain_text(values[0]).split("|")]
        parts = [levels for levels in parts if levels]
        paths = parts if any(len(levels) > 1 for levels in parts) else [[name for levels in parts for name in levels]]
    product.category_path.extend(paths[0] if paths else [])
    for path in paths[1:]:
        product.attributes["other_categories"].values.append(f" {CATEGORY_SEPARATOR} ".join(path))


def _levels(value: Any, separator: str) -> list[str]:
    text = plain_text(_text("category", value))
    levels = _LEVELS.split(text) if separator.strip() in ("", CATEGORY_SEPARATOR) else text.split(separator)
    return [level for level in map(stripped, levels) if level]


def _object(field: str, value: Any) -> dict[str, Any]:
    try:
        entries = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        entries = None
    if isinstance(entries, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in entries):
        entries = dict(entries)  # a map of Parquet
    if not isinstance(entries, dict):
        raise RowRefused(field, 'is not a JSON object; write for example {"colour": ["red"]}')
    return {str(name): entry for name, entry in entries.items()}


def _add_attribute(product: product_pb2.Product, name: str, values: Sequence[Any]) -> None:
    for value in values:
        if isinstance(value, dict) and set(value) == {"values"}:  # as protobuf writes it in JSON
            _add_attribute(product, name, flat(value["values"]))
        elif not is_missing(value):
            product.attributes[stripped(name).lower()].values.append(_joined(f"attributes.{name}", [value]))
