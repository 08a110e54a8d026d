"""Finds the amounts of a query: numbers that may be money, with the currency that stands before or after them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.common.money import CURRENCY_NAMES, MINOR_UNIT_DECIMALS, currency_named
from services.common.scripts import KANA, has_han
from services.query_encoder.domain import price_units as units
from services.query_encoder.domain import price_words as words
from services.query_encoder.domain.chinese_numerals import POWERS, value_of_numeral
from services.query_encoder.domain.phrases import PhraseTable, Token

# A greater amount is no price.
_MOST = Decimal(10) ** 12
# Currencies at one number: "US$50 usd".
_NAMES_A_SIDE = 2
_KANA = re.compile(f"[{KANA}]")
_SEPARATOR = re.compile("[.,']")
# Tokens that a number may touch: it is then no part of a model number, a date or a version.
_TOUCHED_LEFT, _TOUCHED_RIGHT = frozenset("([{<>=≤≥:,;~～-–—\"'"), frozenset(")]}.,;!?+~～-–—\"'<>&，。")
_POUNDS = frozenset({"pound", "pounds"})
_DASHES = frozenset("-–—")


@dataclass(frozen=True)
class Amount:
    """Tokens `start` to `end` of a text. `names` of currencies may be empty. `multiplier`: 1000 for "2k"."""

    value: Decimal
    names: tuple[str, ...]
    start: int
    end: int
    multiplier: int = 1


class Currencies:
    """What names of currencies mean in one shop and one text."""

    def __init__(self, shop_currency: str) -> None:
        self.shop = shop_currency
        self.table = PhraseTable(
            {
                name: name
                for name in CURRENCY_NAMES
                if name not in words.OTHER_WORDS or currency_named(name, shop_currency) == shop_currency
            }
        )

    def meant(self, names: Sequence[str], text: str) -> str | None:
        """The one currency that all `names` may mean: CAD for "$" and "cad". The shop's currency if there is no name.
        None if nothing decides, or if they contradict each other.
        """
        if not names:
            return self.shop
        # "¥" is the yen in a text with kana, and the yuan in another text with Chinese characters.
        script = "JPY" if _KANA.search(text) else "CNY" if has_han(text) else ""
        usual = [currency_named(name, self.shop) or currency_named(name, script) for name in names]
        fitting = (code for code in usual if code and all(currency_named(name, code) == code for name in names))
        return next(fitting, None)


def find_amounts(tokens: Sequence[Token], currencies: Currencies, text: str) -> Iterator[Amount]:
    """From left to right; they do not overlap."""
    plain = [token.text for token in tokens]
    is_weighed = any(word in units.WEIGHED for word in plain)
    done = at = 0
    while at < len(tokens):
        if tokens[at].kind in ("number", "numeral"):
            amount = _Reader(tokens, plain, currencies, text, is_weighed).amount(at, done)
            if amount:
                yield amount
                done = at = amount.end
                continue
        at += 1


@dataclass(frozen=True)
class _Reader:
    tokens: Sequence[Token]
    plain: Sequence[str]
    currencies: Currencies
    text: str
    is_weighed: bool

    def amount(self, at: int, first: int) -> Amount | None:
        """The amount whose number is token `at`, if it is readable. It does not reach before token `first`."""
        start, before = self._names_before(at, first)
        digits_end = self._end_of_groups(at, bool(before))
        magnitude_end, multiplier = self._magnitude(digits_end)
        end, after = self._names_after(magnitude_end)
        names = (*before, *after)
        if not (self._is_free_left(start) and self._is_free_right(end, bool(names), bool(after))):
            return None
        value = self._value(at, digits_end, names)
        if value is None or value * multiplier > _MOST:
            return None
        return Amount(value * multiplier, names, start, end, multiplier)

    def _value(self, at: int, end: int, names: Sequence[str]) -> Decimal | None:
        number = self.plain[at]
        if self.tokens[at].kind == "numeral":
            value = value_of_numeral(number)
            is_said = names or any(power in number for power in POWERS if power != "十")
            return Decimal(value) if value is not None and is_said else None
        currency = self.currencies.meant(names, self.text) or self.currencies.shop
        return decimal_of("".join(self.plain[at:end]), MINOR_UNIT_DECIMALS.get(currency, 2))

    def _end_of_groups(self, at: int, has_currency: bool) -> int:
        """Behind the groups of "1 299 000", which one space separates; only where a price is expected."""
        end = at + 1
        expected = has_currency or words.COMPARATORS.ending_at(self.plain, at)
        if not expected or not re.fullmatch("[1-9][0-9]{0,2}", self.plain[at]):
            return end
        while end < len(self.tokens) and re.fullmatch("[0-9]{3}(,[0-9]{1,2})?", self.plain[end]):
            if self.tokens[end].start != self.tokens[end - 1].end + 1:
                break
            end += 1
        return end

    def _names_before(self, at: int, first: int) -> tuple[int, list[str]]:
        names: list[str] = []
        while len(names) < _NAMES_A_SIDE:
            # "rs. 500"
            end = at - 1 if self.plain[at - 1 : at] == ["."] and self._touch(at - 1) else at
            found = self.currencies.table.ending_at(self.plain, end)
            if found is None:
                break
            start, name = found
            # A single Han character belongs to the word before it: 单元100.
            if start < first or (self.tokens[start].kind == "han" and at - start == 1):
                break
            joined = f"{self.plain[start - 1]}{name}" if start > first else ""
            if self.tokens[start].kind == "sign" and len(joined) > len(name) + 1 and joined in CURRENCY_NAMES:
                start, name = start - 1, joined
            names.append(name)
            at = start
        return at, names

    def _names_after(self, at: int) -> tuple[int, list[str]]:
        names: list[str] = []
        while len(names) < _NAMES_A_SIDE and (found := self.currencies.table.starting_at(self.plain, at)):
            end, name = found
            unit = units.UNITS.starting_at(self.plain, at)
            if (unit and unit[0] > end) or (name in _POUNDS and self.is_weighed) or self._opens_next(at, end):
                break
            names.append(name)
            at = end
        return at, names

    def _opens_next(self, at: int, end: int) -> bool:
        """Whether the currency at token `at` belongs to the number behind it: "from 20 $40"."""
        return end < len(self.tokens) and self.tokens[end].kind == "number" and not self._touch(at)

    def _magnitude(self, at: int) -> tuple[int, int]:
        """(behind the magnitude, multiplier)."""
        if at >= len(self.tokens):
            return at, 1
        word, kind = self.plain[at], self.tokens[at].kind
        if word in words.MAGNITUDES and (kind == "magnitude" or word != "k"):
            return at + 1, words.MAGNITUDES[word]
        if kind == "numeral" and all(character in POWERS for character in word):
            multiplier = 1
            for character in word:
                multiplier *= POWERS[character]
            return at + 1, multiplier
        return at, 1

    def _touch(self, at: int) -> bool:
        """Whether no space stands before token `at`."""
        return 0 < at < len(self.tokens) and self.tokens[at - 1].end == self.tokens[at].start

    def _is_free_left(self, start: int) -> bool:
        """Whether the amount is no end of a longer word or number: "wh-1000", "#10", "a50"."""
        if not self._touch(start):
            return True
        before = self.tokens[start - 1]
        if before.text in _DASHES:
            # Only a range has a dash before its second amount.
            ends_amount = start > 1 and (
                self.tokens[start - 2].kind in ("number", "numeral", "sign", "han")
                or self.currencies.table.ending_at(self.plain, start - 1) is not None
                or self.plain[start - 2] == "k"
            )
            return ends_amount or not self._touch(start - 1)
        if before.kind == "word":
            return self.tokens[start].kind in ("sign", "numeral") or not before.text.isascii()
        return before.kind == "han" or before.text in _TOUCHED_LEFT

    def _is_free_right(self, end: int, is_named: bool, is_named_after: bool) -> bool:
        """Whether the amount is no start of a longer word or number: "5g", "40-piece", "1080p", "10:30"."""
        if not self._touch(end):
            return True
        after = self.tokens[end]
        if after.kind in ("word", "numeral", "magnitude"):
            return is_named_after
        if after.kind == "number":
            return False
        touches_more = self._touch(end + 1) and self.tokens[end + 1].kind != "other"
        if after.text in _DASHES:
            return is_named or not touches_more or self.tokens[end + 1].kind != "word"
        if after.kind == "other" and after.text not in _TOUCHED_RIGHT:
            return is_named
        return after.text not in (".", ":") or not touches_more


def decimal_of(number: str, decimals: int) -> Decimal | None:
    """The value of digits with separators; None if it is no well-formed amount. `decimals` of the currency.

    "1,299", "1.299" and "1'299" are 1299, "49.99" and "49,99" are 49.99, "1.299,00" and "1,299.00" are 1299. Three
    digits after a full stop are decimals only in a currency that has three.
    """
    number = number.rstrip(",.-–")
    if number.startswith("."):
        return Decimal(f"0{number}")
    groups, separators = _SEPARATOR.split(number), _SEPARATOR.findall(number)
    if not separators:
        return None if len(number) > 1 and number.startswith("0") else Decimal(number)
    if _are_groups(groups, separators) and not (separators == ["."] and decimals == 3):
        return Decimal("".join(groups))
    whole, last = groups[:-1], separators[-1]
    is_whole = len(whole) == 1 and (whole[0] == "0" or not whole[0].startswith("0"))
    is_grouped = last not in separators[:-1] and _are_groups(whole, separators[:-1])
    if last != "'" and len(groups[-1]) <= max(decimals, 2) and (is_whole or is_grouped):
        return Decimal(f"{''.join(whole)}.{groups[-1]}")
    return None


def _are_groups(groups: Sequence[str], separators: Sequence[str]) -> bool:
    """Thousands as in 1,299,000, or as in India: 12,99,000."""
    first, *others = groups
    if len(set(separators)) != 1 or first.startswith("0") or len(first) > 3:
        return False
    if all(len(group) == 3 for group in others):
        return True
    is_indian = separators[0] == "," and len(first) <= 2 and len(others) > 1 and len(others[-1]) == 3
    return is_indian and all(len(group) == 2 for group in others[:-1])
