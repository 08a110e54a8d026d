"""Maps the columns of a catalogue file to the fields of a product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from catalog.bounds import Warn, keep_within_bounds
from catalog.columns import FIELDS, MONEY, PREFIXES, SALE, guessed, is_field
from catalog.fields import CATEGORY_SEPARATOR, flat, one, set_field, split_cell
from catalog.files import RowRefused
from catalog.money import parse_currency, parse_money
from catalog.numbers import UNKNOWN, Notation
from catalog.rows import column_names, read_rows
from catalog.text import is_missing, stripped
from kairos.common.v1 import product_pb2
from services.common.convert import money_to_proto

VALUE_SEPARATOR = "|"
# A row without these is rejected. Any other field that is wrong is left out.
REQUIRED = ("id", "title")
# Rows that are looked at before an import: for the notation of numbers, and for the keys of JSON.
_SAMPLE = 1_000


def _silent(field: str, reason: str) -> None:
    """For callers that do not report fields which are left out."""


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

    def product(self, row: Mapping[str, Any], warn: Warn = _silent) -> product_pb2.Product:
        """The product of one row. A wrong optional field is left out, and `warn` is called with the field and the
        reason. Raises RowRefused for a missing or wrong id or title.
        """
        product = product_pb2.Product()
        columns_of = self.columns_of(row)
        currency, only = self._currency(columns_of, row, warn)
        for field, columns in columns_of.items():
            values = self._cells(field, columns, row)
            if not values or field == "currency" or field in SALE:
                continue
            try:
                if field in MONEY:
                    money = parse_money(field, one(values), currency, self.notation, only=only)
                    getattr(product, field).CopyFrom(money_to_proto(money))
                    currency = money.currency if field == "price" else currency
                else:
                    set_field(product, field, values, self.notation, self.separator)
            except RowRefused as refused:
                where = "" if columns == (field,) else f"column {' + '.join(columns)}: "
                if field in REQUIRED:
                    raise RowRefused(refused.field, where + refused.reason) from None
                warn(refused.field, where + refused.reason)
        for field in REQUIRED:
            if not getattr(product, field):
                raise RowRefused(field, "is empty; it is required")
        keep_within_bounds(product, warn)
        return product

    def id_of(self, row: Mapping[str, Any]) -> str:
        """The id of a row that may be wrong otherwise; empty if it has none."""
        return stripped(" ".join(map(str, self.values_of("id", row))))

    def values_of(self, field: str, row: Mapping[str, Any]) -> list[Any]:
        """What the cells of a field say; empty if they say nothing."""
        return self._cells(field, self.columns_of(row).get(field, ()), row)

    def _cells(self, field: str, columns: Sequence[str], row: Mapping[str, Any]) -> list[Any]:
        cells = [row.get(column) for column in columns]
        if self.value_separator and field.startswith("attributes."):
            cells = [split_cell(cell, self.value_separator) for cell in cells]
        return [value for cell in cells for value in flat(cell) if not is_missing(value)]

    def _currency(
        self, columns_of: Mapping[str, Sequence[str]], row: Mapping[str, Any], warn: Warn
    ) -> tuple[str, bool]:
        """(currency of the row, whether a column says so). Empty: a column names one that is unknown, so that only
        amounts with a currency of their own are read.
        """
        for column in columns_of.get("currency", ()):
            if not is_missing(row.get(column)):
                try:
                    return parse_currency("currency", row[column], self.currency), True
                except RowRefused as refused:
                    warn(refused.field, refused.reason)
                    return "", False
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
        if not is_field(field):
            raise ValueError(f"--map: there is no field {field!r}; fields are {', '.join((*FIELDS, *PREFIXES))}")
        named[field] = tuple(_column(source.strip(), header) for source in sources.split("+"))
    mapping = ProductMapping(named, currency, separator)
    columns = mapping.columns_of(header) if header is not None else None
    for field in REQUIRED:
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
        amounts += [row.values.get(column) for field in MONEY for column in columns_of.get(field, ())]
    if not mapping.notation.declared:
        mapping = replace(mapping, notation=Notation.shown_by(amounts))
    return mapping, list(names)


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
    used = {column for columns in known.values() for column in columns}
    for field, column in guessed(names, used).items():
        known.setdefault(field, (column,))
    # Amounts are in the currency of the price, and availability corrects the stock.
    return {field: known[field] for field in sorted(known, key=lambda name: (name != "price", name == "availability"))}
