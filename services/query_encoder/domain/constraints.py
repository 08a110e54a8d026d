"""Conditions that a query states: prices, brands, colours, categories."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from services.common.money import Money
from services.query_encoder.domain.lexicon import Lexicon

_CURRENCIES = {
    "$": "USD", "usd": "USD", "dollar": "USD", "dollars": "USD", "bucks": "USD", "美元": "USD", "刀": "USD",
    "€": "EUR", "eur": "EUR", "euro": "EUR", "euros": "EUR", "欧元": "EUR",
    "£": "GBP", "gbp": "GBP", "pound": "GBP", "pounds": "GBP", "英镑": "GBP",
    "¥": "CNY", "￥": "CNY", "元": "CNY", "块": "CNY", "块钱": "CNY", "人民币": "CNY", "rmb": "CNY", "cny": "CNY",
}  # fmt: skip
_SYMBOL = r"[$€£¥￥]"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d{1,7}(?:\.\d{1,2})?"
_UNIT = r"(?:usd|dollars?|bucks|eur|euros?|gbp|pounds?|rmb|cny|块钱|人民币|美元|欧元|英镑|元|块|刀)"
# An amount with a currency on either side; (?!\w) keeps "6ft" and "50in" out.
_AMOUNT = rf"(?:(?P<s{{0}}>{_SYMBOL})\s?)?(?P<n{{0}}>{_NUMBER})(?:\s?(?P<u{{0}}>{_UNIT}))?"
_NOT_MONEY = r"inch|inches|in\b|ft|feet|cm|mm|oz|lbs?|kg|g\b|ml|l\b|gb|tb|w\b|pack|pcs|pieces|mah"
_END = rf"(?![\w%\"'.]|\s?(?:{_NOT_MONEY}))"
_BELOW = r"(?:under|below|less than|cheaper than|up to|at most|no more than|max(?:imum)?|<=?|不超过|低于|少于|最多)"
_ABOVE = r"(?:over|above|more than|at least|no less than|min(?:imum)?|>=?|不低于|高于|超过|至少)"


def _amount(name: str) -> str:
    return _AMOUNT.replace("{0}", name)


_RANGE = re.compile(rf"(?:between|from)?\s*{_amount('a')}\s*(?:-|–|~|to|and|到|至)\s*{_amount('b')}{_END}(?:之间)?")
_MAXIMUM = re.compile(rf"{_BELOW}\s*{_amount('a')}{_END}")
_MINIMUM = re.compile(rf"{_ABOVE}\s*{_amount('a')}{_END}")
_MAXIMUM_AFTER = re.compile(rf"{_amount('a')}\s?(?:以下|以内|之内|or less|and under)")
_MINIMUM_AFTER = re.compile(rf"{_amount('a')}\s?(?:以上|起|or more|and up)")

# Chinese colours for the canonical English values that catalogues use.
CHINESE_COLOURS = {
    "红色": "red", "蓝色": "blue", "深蓝": "navy", "海军蓝": "navy", "藏青": "navy", "黑色": "black", "白色": "white",
    "绿色": "green", "黄色": "yellow", "灰色": "grey", "粉色": "pink", "粉红": "pink", "紫色": "purple", "橙色": "orange",
    "棕色": "brown", "咖啡色": "brown", "米色": "beige", "银色": "silver", "金色": "gold",
}  # fmt: skip


class ConstraintType(Enum):
    PRICE = "price"
    BRAND = "brand"
    COLOUR = "colour"
    CATEGORY = "category"


@dataclass(frozen=True)
class Constraint:
    """One condition and the words that state it. `value` is empty for PRICE, the ends are None for the others."""

    type: ConstraintType
    matched_text: str
    value: str = ""
    minimum: Money | None = None
    maximum: Money | None = None


def find_constraints(normal: str, lexicon: Lexicon, default_currency: str) -> list[Constraint]:
    """All conditions in a normalised text: at most one price, brand and category, any number of colours."""
    price = find_price(normal, default_currency)
    rest = normal.replace(price.matched_text, " ") if price else normal
    found = [price] if price else []
    found += _longest_name(rest, lexicon.brands, ConstraintType.BRAND)
    found += _colours(rest, lexicon.colours)
    found += _longest_name(rest, lexicon.categories, ConstraintType.CATEGORY)
    return found


def find_price(normal: str, default_currency: str) -> Constraint | None:
    """The price condition, where there is one. A bare number is a price only after words such as "under"."""
    if (match := _RANGE.search(normal)) and _has_currency(match, "a", "b"):
        low, high = _number(match, "a"), _number(match, "b")
        if low <= high:
            currency = _currency(match, default_currency, "a", "b")
            return _price(match, Money(currency, low), Money(currency, high))
    for pattern, is_maximum, needs_currency in (
        (_MAXIMUM_AFTER, True, False),
        (_MINIMUM_AFTER, False, True),
        (_MAXIMUM, True, False),
        (_MINIMUM, False, False),
    ):
        match = pattern.search(normal)
        if match and (not needs_currency or _has_currency(match, "a")):
            money = Money(_currency(match, default_currency, "a"), _number(match, "a"))
            return _price(match, None, money) if is_maximum else _price(match, money, None)
    return None


def without_price(normal: str, constraints: list[Constraint]) -> str:
    """What is left to look up: never empty."""
    for constraint in constraints:
        if constraint.type is ConstraintType.PRICE:
            return " ".join(normal.replace(constraint.matched_text, " ").split()) or normal
    return normal


def _price(match: re.Match[str], minimum: Money | None, maximum: Money | None) -> Constraint:
    return Constraint(ConstraintType.PRICE, match.group().strip(), minimum=minimum, maximum=maximum)


def _number(match: re.Match[str], name: str) -> Decimal:
    return Decimal(match[f"n{name}"].replace(",", ""))


def _has_currency(match: re.Match[str], *names: str) -> bool:
    return any(match[f"s{name}"] or match[f"u{name}"] for name in names)


def _currency(match: re.Match[str], default: str, *names: str) -> str:
    marks = [match[f"{kind}{name}"] for name in names for kind in "su"]
    return next((_CURRENCIES[mark] for mark in marks if mark), default)


def _longest_name(text: str, names: Mapping[str, str], kind: ConstraintType) -> list[Constraint]:
    """The longest name of the dictionary that stands in `text` as whole words."""
    best = max((phrase for phrase in _phrases(text) if phrase in names), key=len, default="")
    return [Constraint(kind, best, names[best])] if best else []


def _colours(text: str, colours: Mapping[str, str]) -> Iterator[Constraint]:
    for phrase in _phrases(text, longest=2):
        if phrase in colours:
            yield Constraint(ConstraintType.COLOUR, phrase, colours[phrase])
    for chinese, english in CHINESE_COLOURS.items():
        if chinese in text and english in colours:
            yield Constraint(ConstraintType.COLOUR, chinese, colours[english])


def _phrases(text: str, longest: int = 4) -> Iterator[str]:
    parts = text.split()
    for start in range(len(parts)):
        for end in range(start + 1, min(start + longest, len(parts)) + 1):
            yield " ".join(parts[start:end])
