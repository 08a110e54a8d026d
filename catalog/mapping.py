"""Maps the columns of a catalogue file to the fields of a product."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from kairos.common.v1 import product_pb2
from services.common.convert import money_to_proto
from services.common.errors import InvalidArgument
from services.common.money import MAX_UNITS, Money

_MONEY = ("price", "cost", "price_floor", "price_ceiling")
_TEXTS = ("id", "title", "description", "brand", "image_uri")
_PREFIXES = ("attributes.", "localized_titles.", "localized_descriptions.")
FIELDS = (*_TEXTS, *_MONEY, "category", "currency", "stock", "created_at", "attributes")
# Columns with another name than their field.
ALIASES = {
    "title_zh": "localized_titles.zh", "description_zh": "localized_descriptions.zh", "image": "image_uri",
}  # fmt: skip
# Commas before groups of three digits, and before groups of two in front of them, as in India. "12,50" does not match.
_THOUSANDS = re.compile(r"[^\d,.]*\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d*)?\s*")


class RowRefused(Exception):
    """The row cannot be imported: `field` is wrong for `reason`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class ProductMapping:
    """For each field the columns that it is made of."""

    columns: Mapping[str, Sequence[str]]
    currency: str
    separator: str = " > "

    def product(self, row: Mapping[str, Any]) -> product_pb2.Product:
        """The product of one row. Raises RowRefused."""
        product = product_pb2.Product()
        for field, columns in self.columns.items():
            values = [value for column in columns for value in _flat(row.get(column)) if value not in (None, "")]
            if values:
                _set(product, field, values, self, row)
        for field in ("id", "title"):
            if not getattr(product, field).strip():
                raise RowRefused(field, "is empty; it is required")
        return product


def parse_mapping(spec: str, header: Sequence[str] | None, currency: str, separator: str = " > ") -> ProductMapping:
    """Parses `field=column` and `field=one+two`, separated by commas. Without a `spec`, columns map to the fields of
    their names. `header` is None if each row has columns of its own (JSON lines).

    Raises ValueError for an unknown field and a missing column.
    """
    columns: dict[str, list[str]] = {}
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        field, equals, sources = part.partition("=")
        if not equals or not sources:
            raise ValueError(f"--map {part!r}: write field=column")
        if not _is_field(field):
            raise ValueError(f"--map: there is no field {field!r}; fields are {', '.join((*FIELDS, *_PREFIXES))}")
        columns[field] = sources.split("+")
    if not spec:
        names = header if header is not None else (*FIELDS, *ALIASES)
        columns = {ALIASES.get(name, name): [name] for name in names if _is_field(ALIASES.get(name, name))}
    if header is not None:
        missing = [source for sources in columns.values() for source in sources if source not in header]
        if missing:
            raise ValueError(f"no column {missing[0]!r}; the file has {', '.join(header)}")
    for field in ("id", "title"):
        if field not in columns:
            have = f"; the file has {', '.join(header)}" if header else ""
            raise ValueError(f"no column for {field!r}, which is required; name it with --map {field}=COLUMN{have}")
    return ProductMapping(columns, currency, separator)


def _is_field(field: str) -> bool:
    return field in FIELDS or any(field.startswith(p) and len(field) > len(p) for p in _PREFIXES)


def _set(
    product: product_pb2.Product, field: str, values: list[Any], mapping: ProductMapping, row: Mapping[str, Any]
) -> None:
    text = " ".join(str(value).strip() for value in values)
    if field in _TEXTS:
        setattr(product, field, text)
    elif field == "category":
        levels = [level for value in values for level in str(value).split(mapping.separator)]
        product.category_path.extend(level.strip() for level in levels if level.strip())
    elif field in _MONEY:
        currency = next((str(row[c]) for c in mapping.columns.get("currency", ()) if row.get(c)), mapping.currency)
        getattr(product, field).CopyFrom(money_to_proto(parse_money(field, text, currency)))
    elif field == "stock":
        product.stock = parse_whole_number(field, text, 2**62)
    elif field == "created_at":
        product.created_at.FromDatetime(parse_time(field, text))
    elif field == "attributes":
        for name, entries in _attributes(values[0]).items():
            product.attributes[name.lower()].values.extend(entries)
    elif field.startswith("attributes."):
        product.attributes[field.partition(".")[2].lower()].values.extend(str(value) for value in values)
    elif field != "currency":
        kind, _, language = field.partition(".")
        getattr(product, kind)[language] = text


def _flat(value: Any) -> list[Any]:
    """The values of a cell: JSON and Parquet may have a list, CSV has one text."""
    return value if isinstance(value, list) else [value]


def parse_money(field: str, text: str, currency: str) -> Money:
    """An amount as people write it: "1,299.00" or "$5". Raises RowRefused."""
    if "," in text and not _THOUSANDS.fullmatch(text):
        raise RowRefused(field, f"{text!r}: a comma is allowed only between thousands; write a point before decimals")
    try:
        amount = Decimal(text.replace(",", "").lstrip("$€£¥").strip())
    except InvalidOperation:
        raise RowRefused(field, f"{text!r} is not an amount") from None
    if not amount.is_finite() or amount < 0:
        raise RowRefused(field, f"{text!r}: an amount must be finite and not negative; leave it out if it is unknown")
    if amount > MAX_UNITS:
        raise RowRefused(field, f"{text!r} is more than {MAX_UNITS:,}; send the price in units of the currency")
    try:
        return Money.from_units(currency, *Money(currency, amount).to_units(), field)
    except InvalidArgument as error:
        raise RowRefused(error.violations[0].field, error.violations[0].description) from None


def parse_whole_number(field: str, text: str, most: int) -> int:
    """A whole number from 0 to `most`. Raises RowRefused."""
    try:
        # Some programs write the whole numbers of a column with empty cells as "5.0".
        number = int(re.sub(r"\.0+$", "", text))
    except ValueError:
        raise RowRefused(field, f"{text!r} is not a whole number") from None
    if not 0 <= number <= most:
        raise RowRefused(field, f"{text!r} is out of range; send 0 to {most}")
    return number


def parse_time(field: str, text: str) -> datetime:
    """A time in UTC. A text without a time zone is taken as UTC. Raises RowRefused."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise RowRefused(field, f"{text!r} is not an ISO 8601 time") from None


def _attributes(value: Any) -> dict[str, list[str]]:
    try:
        entries = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        entries = None
    if not isinstance(entries, dict):
        raise RowRefused("attributes", "is not a JSON object of lists")
    return {str(k): [str(x) for x in v] if isinstance(v, list) else [str(v)] for k, v in entries.items()}
