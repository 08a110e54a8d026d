"""Reads amounts of money as shops write them: a known form, or an error. An amount is never guessed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from catalog.files import RowRefused
from catalog.numbers import MAX_TEXT, SHAPE, UNKNOWN, Notation, cut, normal_form, parse_decimal
from services.common.errors import InvalidArgument
from services.common.money import MAX_UNITS, MINOR_UNIT_DECIMALS, Money, currency_named

_SCIENTIFIC = re.compile(r"\d[eE][-+]?\d")
_NOT_AN_AMOUNT = "is not an amount; write for example 19.99 or 19.99 EUR"


def parse_money(field: str, value: Any, currency: str, notation: Notation = UNKNOWN, *, only: bool = False) -> Money:
    """The amount of one cell: "1,299.00", "19,99 €", "USD 15.00", a number of JSON or Parquet, or Money as JSON.

    `currency`: of an amount without a sign or code; also decides what "$" and "¥" mean. `only`: the amount must be in
    this currency. Raises RowRefused with `field`.
    """
    if isinstance(value, Mapping):
        currency, amount = _message(field, value)
    elif isinstance(value, str):
        number, names = _split(field, value)
        currency = _currency(field, value, names, currency, only)
        amount = parse_decimal(field, value, number, notation, MINOR_UNIT_DECIMALS.get(currency, 2))
    else:
        amount = _number(field, value)
    if amount > MAX_UNITS:
        raise RowRefused(field, f"{cut(value)} is more than {MAX_UNITS:,}; send the price in units of the currency")
    try:
        return Money.from_units(currency, *Money(currency, amount).to_units(), field)
    except InvalidArgument as error:
        raise RowRefused(error.violations[0].field, error.violations[0].description) from None


def parse_currency(field: str, value: Any, shop_currency: str = "") -> str:
    """The code of a cell that names a currency: "EUR", "eur", "€". Raises RowRefused."""
    code = currency_named(str(value)[:MAX_TEXT], shop_currency)
    if code is None:
        raise RowRefused(field, f"{cut(value)} names no single currency; write a code of ISO 4217 such as EUR")
    return code


def _message(field: str, value: Mapping[str, Any]) -> tuple[str, Decimal]:
    """Money as protobuf writes it in JSON: {"currency_code": "USD", "units": "19", "nanos": 990000000}."""
    keys = {"currency_code", "currencyCode", "units", "nanos"}
    code = value.get("currency_code", value.get("currencyCode"))
    try:
        units, nanos = int(value.get("units", 0)), int(value.get("nanos", 0))
    except (TypeError, ValueError, OverflowError):
        units = nanos = -1
    if not set(value) <= keys or not isinstance(code, str) or min(units, nanos) < 0 or nanos >= 10**9:
        raise RowRefused(field, f"{cut(value)} {_NOT_AN_AMOUNT}")
    return code, units + Decimal(nanos).scaleb(-9)


def _number(field: str, value: Any) -> Decimal:
    """A number whose format leaves no doubt about its decimal mark."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise RowRefused(field, f"{cut(value)} {_NOT_AN_AMOUNT}")
    amount = Decimal(str(value))
    if not amount.is_finite() or amount < 0:
        raise RowRefused(field, f"{cut(value)}: an amount is finite and not negative; leave it out if it is unknown")
    return amount


def _split(field: str, text: str) -> tuple[str, list[str]]:
    """The number of a cell, and the names of currencies around it."""
    if len(text) > MAX_TEXT:
        raise RowRefused(field, f"{cut(text)} is not an amount; write at most {MAX_TEXT} characters")
    plain = normal_form(text)
    if _SCIENTIFIC.search(plain):
        raise RowRefused(field, f"{text!r} is in scientific notation, which may have lost digits; write all of them")
    shape = SHAPE.fullmatch(plain)
    if shape is None:
        if re.search(r"\d[^\d_]+\d", plain.replace(".", "").replace(",", "")):
            raise RowRefused(field, f"{text!r} holds more than one number; write one amount, for example the lowest")
        raise RowRefused(field, f"{text!r} {_NOT_AN_AMOUNT}")
    before, after = shape["before"].strip(), shape["after"].strip()
    if before[:1] in ("-", "(") or before[-1:] == "-" or after in ("-", ")"):
        raise RowRefused(field, f"{text!r} is negative; leave it out if it is unknown")
    names = [name for part in (before, after) for name in _names(part)]
    if not all(any(unicodedata.category(c) in ("Sc", "Lu", "Ll", "Lo") for c in name) for name in names):
        raise RowRefused(field, f"{text!r} {_NOT_AN_AMOUNT}")
    return shape["number"], names


def _names(text: str) -> list[str]:
    """The names of currencies in a text: "US $" is one name, "USD $" are two."""
    if not text:
        return []
    joined = text.replace(" ", "")
    return [joined] if currency_named(joined) else text.split()


def _currency(field: str, text: str, names: list[str], currency: str, only: bool) -> str:
    codes = [name.upper() for name in names if name.upper() in MINOR_UNIT_DECIMALS]
    found = set()
    for name in names:
        code = currency_named(name, codes[0] if codes else currency)
        if code is None:
            raise RowRefused(
                field,
                f"{text!r}: {name!r} names no single currency; write a code of ISO 4217 in the cell or in a column "
                "`currency`, or give --currency",
            )
        found.add(code)
    if len(found) > 1:
        raise RowRefused(field, f"{text!r} names the currencies {' and '.join(sorted(found))}; name one")
    if only and found - {currency}:
        raise RowRefused(field, f"{text!r} is in {found.pop()}, but the column `currency` says {currency}; use one")
    return found.pop() if found else currency
