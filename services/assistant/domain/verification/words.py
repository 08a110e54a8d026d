"""The words of a sentence as the verifier compares them, and the phrases of a language that it knows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from services.common.query_words import query_words
from services.common.scripts import HAN, is_han

_TOKEN = re.compile(rf"[{HAN}]|\d+(?:[.,]\d+)*|[^\W\d_{HAN}]+(?:['’][^\W\d_{HAN}]+)*|[^\s]")
_UNITS = {
    "inch": "inch inches \" \u2033 英寸 寸", "foot": "foot feet ft 英尺", "yard": "yard yards yd",
    "mile": "mile miles mi 英里",
    "m": "m meter meters metre metres 米", "cm": "cm centimeter centimeters centimetre centimetres 厘米 公分",
    "mm": "mm millimeter millimeters millimetre millimetres 毫米",
    "km": "km kilometer kilometers kilometre kilometres 公里 千米",
    "kg": "kg kgs kilogram kilograms kilo kilos 公斤 千克", "g": "g gr gram grams 克", "mg": "mg 毫克",
    "oz": "oz ounce ounces 盎司", "lb": "lb lbs 磅", "l": "l liter liters litre litres 升",
    "ml": "ml milliliter milliliters millilitre millilitres 毫升", "gallon": "gallon gallons gal 加仑",
    "w": "w watt watts 瓦", "v": "v volt volts 伏", "mah": "mah 毫安时 毫安", "gb": "gb", "tb": "tb", "mb": "mb",
    "hz": "hz hertz 赫兹", "hour": "hour hours hr hrs h 小时", "minute": "minute minutes min 分钟",
    "day": "day days 天 日",
    "week": "week weeks 周", "month": "month months 个月", "year": "year years 年", "percent": "percent % 个百分点",
    "°": "° degrees degree 度", "mp": "mp megapixel megapixels 万像素",
}  # fmt: skip
# Only right behind the number: "found 2 in stock".
_TOUCHING = {"in": "inch"}
_UNIT_NAMES = _TOUCHING | {spelling: name for name, spellings in _UNITS.items() for spelling in spellings.split()}
_UNIT = re.compile(
    r"[ -]?(?P<unit>" + "|".join(
        re.escape(one) + (r"(?![A-Za-z0-9])" if one.isascii() and one.isalpha() else "")
        for one in sorted(_UNIT_NAMES, key=len, reverse=True)
        if one not in _TOUCHING
    ) + r"|(?<=\d)in(?![A-Za-z0-9]))",
    re.IGNORECASE,
)  # fmt: skip
# Digits of numbers that are written in Chinese, up to 99.
_NUMERALS = dict(zip("零一二三四五六七八九十", range(11), strict=True)) | {"两": 2, "〇": 0}


UNITS = frozenset(_UNIT_NAMES.values())


class Kind(Enum):
    WORD = "word"
    NUMBER = "number"
    HAN = "han"
    SIGN = "sign"


@dataclass(frozen=True)
class Token:
    """`key`: how it is compared. `start`, `end`: its characters in the text."""

    text: str
    key: str
    kind: Kind
    start: int
    end: int

    @property
    def is_spoken(self) -> bool:
        """Whether it is more than a sign."""
        return self.kind is not Kind.SIGN


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text in NFKC. A unit behind a number is one token, whose key is its usual name."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    found, at = list[Token](), 0
    while match := _TOKEN.search(text, at):
        found.append(_token(match))
        at = match.end()
        if found[-1].kind is Kind.NUMBER and (unit := _UNIT.match(text, at)):
            found.append(
                Token(
                    unit["unit"],
                    _UNIT_NAMES.get(unit["unit"].lower(), unit["unit"]),
                    Kind.WORD,
                    unit.start("unit"),
                    unit.end(),
                )
            )
            at = unit.end()
    return found


def keys_of(text: str) -> tuple[str, ...]:
    """Of the words and numbers of a text, without its signs."""
    return tuple(token.key for token in tokens_of(text) if token.is_spoken)


def number_of(text: str) -> str:
    """A number without thousands separators and trailing zeros: "1,299.00" is "1299"."""
    plain = re.sub(r",(?=\d{3}(?:\D|$))", "", text).replace(",", ".")
    if plain.count(".") > 1:
        return plain
    whole, _, part = plain.partition(".")
    part = part.rstrip("0")
    return f"{whole.lstrip('0') or '0'}{'.' if part else ''}{part}"


def numeral_value(text: str) -> int | None:
    """Of a Chinese numeral up to 99."""
    if not text or any(character not in _NUMERALS for character in text):
        return None
    if "十" not in text:
        return _NUMERALS[text] if len(text) == 1 else None
    tens, _, ones = text.partition("十")
    return (_NUMERALS[tens] if tens else 1) * 10 + (_NUMERALS[ones] if ones else 0)


def starts_at(keys: Sequence[str], at: int, phrase: Sequence[str]) -> bool:
    return tuple(keys[at : at + len(phrase)]) == tuple(phrase)


def positions_of(keys: Sequence[str], phrase: Sequence[str]) -> list[int]:
    return [at for at in range(len(keys) - len(phrase) + 1) if starts_at(keys, at, phrase)]


def _token(match: re.Match[str]) -> Token:
    text = match[0]
    if text[0].isdigit():
        return Token(text, number_of(text), Kind.NUMBER, match.start(), match.end())
    kind = Kind.HAN if is_han(text) else Kind.WORD if text[0].isalpha() else Kind.SIGN
    return Token(text, _key(text), kind, match.start(), match.end())


@lru_cache(16_384)
def _key(text: str) -> str:
    return " ".join(query_words(text)) or text.lower()


class Lexicon:
    """Phrases of a language by what they are for: see services/assistant/words."""

    def __init__(self, language: str, lists: Mapping[str, str | Sequence[str]]) -> None:
        self.language = language
        entries = {name: value.split() if isinstance(value, str) else value for name, value in lists.items()}
        self._phrases = {
            name: sorted({keys for value in values if (keys := keys_of(value))}, key=len, reverse=True)
            for name, values in entries.items()
        }
        self._order = {
            name: {" ".join(keys_of(value)): place for place, value in enumerate(entries.get(name, ()))}
            for name in ("ordinals", "numbers")
        }
        self._words = {name: frozenset(" ".join(keys) for keys in each) for name, each in self._phrases.items()}
        self._longest = {name: len(each[0]) if each else 0 for name, each in self._phrases.items()}
        self.abbreviations = frozenset(word.lower() for word in entries.get("abbreviations", ()))

    def length_at(self, name: str, keys: Sequence[str], at: int) -> int:
        """How many keys the longest phrase of the list has that starts there; 0 if none does."""
        words = self._words[name]
        for length in range(min(self._longest[name], len(keys) - at), 0, -1):
            if " ".join(keys[at : at + length]) in words:
                return length
        return 0

    def length_before(self, name: str, keys: Sequence[str], end: int) -> int:
        """As `length_at`, for the longest phrase that ends before `end`."""
        words = self._words[name]
        for length in range(min(self._longest[name], end), 0, -1):
            if " ".join(keys[end - length : end]) in words:
                return length
        return 0

    def has(self, name: str, keys: Sequence[str]) -> bool:
        return any(self.length_at(name, keys, at) for at in range(len(keys)))

    def places(self, name: str, keys: Sequence[str]) -> list[tuple[int, int]]:
        """(start, end) of its phrases, from left to right, without overlap."""
        found, at = list[tuple[int, int]](), 0
        while at < len(keys):
            if length := self.length_at(name, keys, at):
                found.append((at, at + length))
                at += length
            else:
                at += 1
        return found

    def index_of(self, name: str, key: str) -> int | None:
        """The place of a word in its list as written, counted from 0."""
        return self._order[name].get(key)
