"""Reads numbers as people write them, in every notation that leaves no doubt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catalog.files import RowRefused
from catalog.text import is_missing, stripped, with_plain_digits
from services.common.typed_text import decoded

# Longer cells are no numbers, and are cut in messages.
MAX_TEXT = 64
# One number with marks inside it, and text without digits around it. "5,-" and "5.–" are whole amounts.
SHAPE = re.compile(r"(?P<before>\D*?)(?P<number>[.,]?\d(?:[\d.,' ]*\d)?)(?:[.,] ?[-–—])?(?P<after>\D*)")
_OTHER = {".": ",", ",": "."}
_MARK_NAMES = {"point": ".", "comma": ","}

# What shops write for a stock that they do not count: whether the product can be had. Without spaces and underscores.
_IN_STOCK = frozenset({"instock", "available", "yes", "true", "limitedavailability", "lowstock"})
_OUT_OF_STOCK = frozenset(
    {"outofstock", "soldout", "unavailable", "no", "false", "discontinued", "preorder", "backorder", "onbackorder"}
)


@dataclass(frozen=True)
class Notation:
    """How a file writes decimals. `decimal_mark`: "." or ","; empty if unknown. It settles numbers that are otherwise
    ambiguous, such as "1.299". `declared`: a person said so; otherwise other rows of the file show it.
    """

    decimal_mark: str = ""
    declared: bool = False

    @classmethod
    def named(cls, name: str) -> Notation:
        """For "point", "comma" or "" (unknown). Raises ValueError."""
        if name and name not in _MARK_NAMES:
            raise ValueError(f"--decimal-mark {name!r}: write point or comma")
        return cls(_MARK_NAMES[name], declared=True) if name else cls()

    @classmethod
    def shown_by(cls, cells: Iterable[Any]) -> Notation:
        """The notation that all unambiguous cells share; unknown if there are none, or if they differ."""
        marks = {mark for cell in cells if isinstance(cell, str) and (mark := _mark_shown_by(cell))}
        return cls(marks.pop()) if len(marks) == 1 else cls()


UNKNOWN = Notation()
# A person who types one number writes it as in English.
ENGLISH = Notation(".", declared=True)


def normal_form(text: str) -> str:
    """The text of a cell without entities, with ASCII digits and marks."""
    return stripped(with_plain_digits(decoded(text)))


def cut(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def parse_decimal(field: str, text: str, number: str, notation: Notation, minor_decimals: int) -> Decimal:
    """The value of `number`, which has marks between thousands and before decimals, and stands in the cell `text`.

    `minor_decimals`: of the currency; one of 0 has no decimals that a mark could stand before. Raises RowRefused.
    """
    whole, mark, decimals = _parts(number)
    if mark and _may_be_thousands(whole, decimals):
        if notation.decimal_mark == _OTHER[mark] or (not notation.decimal_mark and minor_decimals == 0):
            whole, decimals = whole + decimals, ""
        elif not notation.declared and not (notation.decimal_mark and minor_decimals >= len(decimals)):
            raise RowRefused(
                field,
                f"{text!r} may mean {whole}{decimals} or {whole}.{decimals}; write {whole}{decimals}.00 or "
                f"{whole}.{decimals}0, or name the mark before decimals with --decimal-mark point or comma",
            )
    if (digits := _without_groups(whole)) is None or not re.fullmatch(r"\d*", decimals):
        raise RowRefused(
            field, f"{text!r} is not an amount: its thousands are not in groups; write for example 1299.00"
        )
    return Decimal(f"{digits or 0}.{decimals or 0}")


def parse_whole_number(field: str, value: Any, most: int, notation: Notation = UNKNOWN) -> int:
    """A whole number from 0 to `most`: 5, "5.0" as programs write it, "1,200". Raises RowRefused."""
    number = _whole(field, value, notation)
    if not 0 <= number <= most:
        raise RowRefused(field, f"{cut(value)} is out of range; send 0 to {most}")
    return number


def parse_stock(field: str, value: Any, notation: Notation = UNKNOWN) -> int | None:
    """Pieces on hand; None if the cell says only that there are some. A negative number is a stock of 0: shops count
    orders below zero. Words such as "in stock" and "out of stock" are read. Raises RowRefused.
    """
    if isinstance(value, str | bool):
        word = re.sub(r"[\s_-]", "", str(value).rpartition("/")[2]).lower()
        if word in _IN_STOCK:
            return None
        if word in _OUT_OF_STOCK:
            return 0
    number = _whole(field, value, notation, " or a word such as in stock or out of stock")
    if number > 2**62:
        raise RowRefused(field, f"{cut(value)} is out of range; send at most {2**62}")
    return max(0, number)


def _whole(field: str, value: Any, notation: Notation, words: str = "") -> int:
    refused = RowRefused(field, f"{cut(value)} is not a whole number; send a number such as 12{words}")
    if isinstance(value, str):
        plain = normal_form(value[: MAX_TEXT + 1])
        match = re.fullmatch(r"(?P<sign>[-+]?) ?(?P<number>\d(?:[\d.,' ]*\d)?)", plain)
        if match is None or len(value) > MAX_TEXT:
            raise refused
        # Thousands of pieces are written as in English unless the file shows otherwise; "5.000" stays ambiguous.
        comma = notation.decimal_mark != "," and match["number"].count(",") == 1 and "." not in match["number"]
        number = parse_decimal(field, value, match["number"], ENGLISH if comma else notation, minor_decimals=3)
        number = -number if match["sign"] == "-" else number
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool) and not is_missing(value):
        number = Decimal(str(value))
    else:
        raise refused
    if not number.is_finite() or abs(number) > 2**63 or number != int(number):
        raise refused
    return int(number)


def _parts(number: str) -> tuple[str, str, str]:
    """(whole part with its groups, mark before decimals, decimals) by the marks alone. The mark is empty if the number
    has none, or the same one several times: that one is between groups.
    """
    last = max(number.rfind("."), number.rfind(","))
    if last < 0 or number.count(number[last]) > 1:
        return number, "", ""
    return number[:last], number[last], number[last + 1 :]


def _may_be_thousands(whole: str, decimals: str) -> bool:
    return re.fullmatch(r"[1-9]\d{0,2}", whole) is not None and re.fullmatch(r"\d{3}", decimals) is not None


def _without_groups(whole: str) -> str | None:
    """The digits; None if the marks between them do not make groups of three, or of two and three as in India."""
    if re.fullmatch(r"\d*", whole):
        return whole
    if re.fullmatch(r"\d{1,3}(?:([.,' ])\d{3})(?:\1\d{3})*|\d{1,2}(?:,\d{2})*,\d{3}", whole):
        return re.sub(r"\D", "", whole)
    return None


def _mark_shown_by(text: str) -> str:
    """The decimal mark that a cell shows without doubt: "." for "19.99" and "1,234,567"; empty if it shows none."""
    shape = SHAPE.fullmatch(normal_form(text[:MAX_TEXT]))
    if shape is None:
        return ""
    whole, mark, decimals = _parts(shape["number"])
    if mark:
        return "" if _may_be_thousands(whole, decimals) else mark
    return next((_OTHER[group] for group in _OTHER if group in whole), "")
