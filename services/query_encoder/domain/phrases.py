"""Tokens of a query, and tables of phrases that are looked up in them, the longest first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.common.money import CURRENCY_NAMES
from services.common.scripts import HAN
from services.query_encoder.domain.chinese_numerals import NUMERALS

Value = TypeVar("Value")

# "hk$" and "s/". Names of letters or Han characters alone are words.
_SIGNS = sorted((name for name in CURRENCY_NAMES if not name.isalpha()), key=len, reverse=True)
_TOKEN = re.compile(
    # "1,299.00" is one number, and so is the "50,-" of German and Danish shops.
    r"(?P<number>[0-9]+(?:[.,'’][0-9]+)*(?:[.,][-–](?![0-9a-z]))?|(?<![0-9a-z])\.[0-9]+)"
    # "2k", also in "2kusd".
    r"|(?P<magnitude>(?<=[0-9])k)"
    rf"|(?P<sign>{'|'.join(map(re.escape, _SIGNS))})"
    rf"|(?P<numeral>[{NUMERALS}]+)"
    rf"|(?P<han>[{HAN}])"
    rf"|(?P<word>[^\W\d_{HAN}]+(?:['’][^\W\d_{HAN}]+)*)"
    r"|(?P<other><=|>=|\S)"
)


@dataclass(frozen=True)
class Token:
    """`kind`: number, magnitude, sign (of a currency), numeral (of Han characters), han (one other Han character), word
    or other. `start` and `end` in the text.
    """

    text: str
    kind: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """All of `text` but its spaces; `text` is in lower case, its Chinese in simplified characters."""
    return [
        Token(match.group().replace("’", "'"), match.lastgroup or "", match.start(), match.end())
        for match in _TOKEN.finditer(text)
    ]


class PhraseTable(Generic[Value]):
    """Phrases with a value each, to be found at or before a position of a tokenised text."""

    def __init__(self, phrases: Mapping[str, Value]) -> None:
        self._values = {tuple(token.text for token in tokens_of(phrase)): value for phrase, value in phrases.items()}
        self._longest = max(map(len, self._values), default=0)

    def __contains__(self, phrase: str) -> bool:
        return tuple(token.text for token in tokens_of(phrase)) in self._values

    def ending_at(self, tokens: Sequence[str], end: int) -> tuple[int, Value] | None:
        """(where the longest phrase that ends before token `end` starts, its value)."""
        for start in range(max(0, end - self._longest), end):
            if (found := tuple(tokens[start:end])) in self._values:
                return start, self._values[found]
        return None

    def starting_at(self, tokens: Sequence[str], start: int) -> tuple[int, Value] | None:
        """(where the longest phrase that starts with token `start` ends, its value)."""
        for end in range(min(len(tokens), start + self._longest), start, -1):
            if (found := tuple(tokens[start:end])) in self._values:
                return end, self._values[found]
        return None


def phrase_set(*texts: str) -> PhraseTable[bool]:
    """A table of phrases that spaces separate. "_" stands for a space inside a phrase."""
    return PhraseTable({phrase.replace("_", " "): True for text in texts for phrase in text.split()})
