"""Maps the columns of a catalogue file to the fields of a product."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from catalog.dates import parse_time
from catalog.files import RowRefused
from catalog.money import parse_currency, parse_money
from catalog.numbers import UNKNOWN, Notation, cut, parse_stock
from catalog.rows import column_names, read_rows
from catalog.text import decoded, is_missing, stripped
from kairos.common.v1 import product_pb2
from services.common.convert import money_to_proto

# `price` is first: other amounts of the row are in its currency.
_MONEY = ("price", "cost", "price_floor", "price_ceiling")
_TEXTS = ("id", "title", "description", "brand", "image_uri")
_BY_LANGUAGE = ("localized_titles", "localized_descriptions")
_PREFIXES = ("attributes.", *(f"{name}." for name in _BY_LANGUAGE))
FIELDS = (*_MONEY, *_TEXTS, "category", "currency", "stock", "created_at", "attributes", *_BY_LANGUAGE)
# Columns with another name than their field.
ALIASES = {
    "title_zh": "localized_titles.zh", "description_zh": "localized_descriptions.zh", "image": "image_uri",
    "category_path": "category",
}  # fmt: skip
CATEGORY_SEPARATOR, VALUE_SEPARATOR = ">", "|"
# Also what typographic programs write for ">".
_LEVELS = re.compile(r"\s*(?:-*>|»|›|→)\s*")
# Rows that are looked at before an import: for the notation of numbers, and for the keys of JSON.
_SAMPLE = 1_000


@dataclass(frozen=True)
class ProductMapping:
    """`named`: for a field the columns that it is made of. The other fields are guessed from the names of the columns.

    `currency`: of amounts that name none, in a row without a column for it. `separator`: between the levels of a
    category. `value_separator`: between the values of an attribute; empty: a cell is one value.
    """

    named: Mapping[str, Sequence[str]]
    currency: str
    separator: str = CATEGORY_SEPARATOR
    value_separator: str = VALUE_SEPARATOR
    notation: Notation = UNKNOWN

    def columns_of(self, names: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """For each field its columns among `names`; prices first."""
        return _columns_of(tuple((field, tuple(columns)) for field, columns in self.named.items()), tuple(names))

    def product(self, row: Mapping[str, Any]) -> product_pb2.Product:
        """The product of one row. Raises RowRefused."""
        product = product_pb2.Product()
        columns_of = self.columns_of(row)
        currency, only = self._currency(columns_of, row)
        for field, columns in columns_of.items():
            cells = [row.get(column) for column in columns]
            if self.value_separator and field.startswith("attributes."):
                cells = [_parts(cell, self.value_separator) for cell in cells]
            values = [value for cell in cells for value in _flat(cell) if not is_missing(value)]
            if not values or field == "currency":
                continue
            try:
                if field in _MONEY:
                    money = parse_money(field, _one(values), currency, self.notation, only=only)
                    getattr(product, field).CopyFrom(money_to_proto(money))
                    currency = money.currency if field == "price" else currency
                else:
                    _set(product, field, values, self)
            except RowRefused as refused:
                where = "" if columns == (field,) else f"column {' + '.join(columns)}: "
                raise RowRefused(refused.field, where + refused.reason) from None
        for field in ("id", "title"):
            if not getattr(product, field):
                raise RowRefused(field, "is empty; it is required")
        return product

    def _currency(self, columns_of: Mapping[str, Sequence[str]], row: Mapping[str, Any]) -> tuple[str, bool]:
        """(currency of the row, whether a column says so)."""
        for column in columns_of.get("currency", ()):
            if not is_missing(row.get(column)):
                return parse_currency("currency", row[column], self.currency), True
        return self.currency, False


def parse_mapping(
    spec: str, header: Sequence[str] | None, currency: str, separator: str = CATEGORY_SEPARATOR
) -> ProductMapping:
    """Parses `field=column` and `field=one+two`, separated by commas. Fields that `spec` does not name are guessed from
    the names of the columns. `header` is None if each row has columns of its own (JSON).

    Raises ValueError for an unknown field and a missing column.
    """
    named: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        field, equals, sources = (text.strip() for text in part.partition("="))
        if not equals or not sources:
            raise ValueError(f"--map {part!r}: write field=column")
        if not _is_field(field):
            raise ValueError(f"--map: there is no field {field!r}; fields are {', '.join((*FIELDS, *_PREFIXES))}")
        named[field] = tuple(_column(source.strip(), header) for source in sources.split("+"))
    mapping = ProductMapping(named, currency, separator)
    columns = mapping.columns_of(header) if header is not None else None
    for field in ("id", "title"):
        if columns is not None and field not in columns:
            have = f"; the file has {', '.join(header or ())}"
            raise ValueError(f"no column for {field!r}, which is required; name it with --map {field}=COLUMN{have}")
    return mapping


def mapping_for(file: Path, mapping: ProductMapping) -> tuple[ProductMapping, list[str]]:
    """(the mapping with the notation that the first rows of `file` show, the columns of the file)."""
    names: dict[str, None] = dict.fromkeys(column_names(file) or ())
    amounts: list[Any] = []
    for row in islice(read_rows(file), _SAMPLE):
        names.update(dict.fromkeys(row.values))
        columns_of = mapping.columns_of(row.values)
        amounts += [row.values.get(column) for field in _MONEY for column in columns_of.get(field, ())]
    if not mapping.notation.declared:
        mapping = replace(mapping, notation=Notation.shown_by(amounts))
    return mapping, list(names)


def field_of(column: str) -> str | None:
    """The field that a column is named after: `Price`, ` price ` and `PRICE` are `price`, `createdAt` is `created_at`;
    None if there is no such field.
    """
    prefix, dot, rest = stripped(column).partition(".")
    key = snake_case(prefix)
    key = ALIASES.get(key, key) if not dot else f"{key}.{rest.strip()}"
    return key if _is_field(key) else None


def snake_case(name: str) -> str:
    """`created_at` for `createdAt`, `Created at` and ` CREATED-AT `."""
    return re.sub(r"[\s_-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stripped(name))).lower()


def _column(source: str, header: Sequence[str] | None) -> str:
    """The column of the file that a person named; upper and lower case are the same if there is no exact match."""
    if header is None or source in header:
        return source
    similar = [name for name in header if name.lower() == source.lower()]
    if len(similar) != 1:
        raise ValueError(f"no column {source!r}; the file has {', '.join(header)}")
    return similar[0]


@lru_cache(maxsize=1_024)
def _columns_of(named: tuple[tuple[str, tuple[str, ...]], ...], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    known = dict(named)
    # The exact name is preferred to a similar one.
    for column in sorted(names, key=lambda name: name not in FIELDS):
        field = field_of(column)
        if field is not None:
            known.setdefault(field, (column,))
    return {field: known[field] for field in sorted(known, key=lambda field: field != "price")}


def _is_field(field: str) -> bool:
    return field in FIELDS or any(field.startswith(p) and len(field) > len(p) for p in _PREFIXES)


def _set(product: product_pb2.Product, field: str, values: list[Any], mapping: ProductMapping) -> None:
    if field == "id":
        product.id = stripped(" ".join(_text(field, value) for value in values))
    elif field in _TEXTS:
        setattr(product, field, _joined(field, values))
    elif field == "category":
        product.category_path.extend(level for value in values for level in _levels(value, mapping.separator))
    elif field == "stock":
        stock = parse_stock(field, _one(values), mapping.notation)
        if stock is not None:
            product.stock = stock
    elif field == "created_at":
        product.created_at.FromDatetime(parse_time(field, _one(values)))
    elif field == "attributes":
        for name, entries in _object(field, values[0]).items():
            _add_attribute(product, name, _flat(entries))
    elif field.startswith("attributes."):
        _add_attribute(product, field.partition(".")[2], values)
    else:
        kind, _, language = field.partition(".")
        texts = {language: _joined(field, values)} if language else _object(field, values[0])
        for code, text in texts.items():
            if not is_missing(text):
                getattr(product, kind)[code] = _joined(field, [text])


def _one(values: list[Any]) -> Any:
    """The value of a cell, or the joined text of several columns: an amount and its currency."""
    return values[0] if len(values) == 1 else " ".join(str(value).strip() for value in values)


def _flat(value: Any) -> list[Any]:
    """The values of a cell: JSON and Parquet may have a list, CSV has one text."""
    return value if isinstance(value, list) else [value]


def _parts(cell: Any, separator: str) -> Any:
    """The values of a cell of text; a list of JSON or Parquet stays as it is."""
    return decoded(cell).split(separator) if isinstance(cell, str) else cell


def _joined(field: str, values: list[Any]) -> str:
    return " ".join(stripped(decoded(_text(field, value))) for value in values)


def _text(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float | Decimal | date):
        raise RowRefused(field, f"{cut(value)} is not a text")
    return str(value)


def _levels(value: Any, separator: str) -> list[str]:
    text = decoded(_text("category", value))
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


def _add_attribute(product: product_pb2.Product, name: str, values: list[Any]) -> None:
    for value in values:
        if isinstance(value, dict) and set(value) == {"values"}:  # as protobuf writes it in JSON
            _add_attribute(product, name, _flat(value["values"]))
        elif not is_missing(value):
            product.attributes[stripped(name).lower()].values.append(_joined(f"attributes.{name}", [value]))
