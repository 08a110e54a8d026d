"""Finds and masks personal data that has a pattern: e-mail addresses, telephone numbers, cards, identity numbers.

Names of people, addresses and dates of birth have no pattern and are not found.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from services.common.scripts import HAN

if TYPE_CHECKING:
    from services.common.personal_data_recognizers import Recognizers

# Longer texts are read up to there, and what is behind is left out of `masked`.
MAX_LENGTH = 20_000
_NUMERALS = str.maketrans("零〇一二三四五六七八九幺", "001234567891")
_LONG_NUMERAL = re.compile("[零〇一二三四五六七八九幺]{7,}")
_HAN = re.compile(f"[{HAN}]")
# Seven digits, with at most two signs between two of them: less is no identifier of a person.
_DIGITS = re.compile(r"\d(?:[^\w\n]{0,2}\d){6}")
# Internet addresses of version 4 and 6, and hardware addresses, have fewer digits in a row.
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-f]{0,4}:){2}|(?:[0-9a-f]{2}-){5}", re.IGNORECASE)
# For logs: numbers of nine digits and more, but no dates, and whatever has an @.
_IN_LOGS = re.compile(r"[^\s'\"<>(),;]+@[^\s'\"<>(),;]+|(?<![\w.])(?!\d{4}-\d\d-\d\d)\+?\d(?:[ ()\-]{0,2}\d){8,}[Xx]?")


@dataclass(frozen=True)
class Personal:
    """`kind` in lower case, for example "email_address". `start` and `end`: characters of the text."""

    kind: str
    start: int
    end: int


def may_hold_personal_data(text: str) -> bool:
    """False only if `personal_data_in` finds nothing. It takes microseconds and loads nothing."""
    if text.isascii() and "@" not in text and not any(character.isdigit() for character in text) and ":" not in text:
        return False
    reading = _reading(_visible(text[:MAX_LENGTH]))
    return "@" in reading or _DIGITS.search(reading) is not None or _ADDRESS.search(reading) is not None


def personal_data_in(text: str) -> list[Personal]:
    """From left to right, without overlap. Needs the package presidio-analyzer."""
    if not may_hold_personal_data(text):
        return []
    found = list[Personal]()
    for one in sorted(_recognizers().find(_reading(text[:MAX_LENGTH])), key=lambda each: (each.start, -each.end)):
        if not found or one.start >= found[-1].end:
            found.append(one)
        elif one.end > found[-1].end:
            found[-1] = Personal(found[-1].kind, found[-1].start, one.end)
    return found


def masked(text: str) -> str:
    """The text with "[email_address]" and the like in place of personal data, and without invisible characters."""
    if not may_hold_personal_data(text):
        return text[:MAX_LENGTH]
    text, at, parts = _visible(text[:MAX_LENGTH]), 0, list[str]()
    for one in personal_data_in(text):
        parts += [text[at : one.start], f"[{one.kind}]"]
        at = one.end
    return "".join([*parts, text[at:]])


def without_personal_data(text: str) -> str:
    """For logs, where every process writes: a rougher `masked`, which needs no package."""
    return _IN_LOGS.sub("[removed]", text)


def _visible(text: str) -> str:
    """Without characters that show nothing: they would split a number."""
    if text.isascii():
        return text
    return "".join(one for one in text if unicodedata.category(one) not in ("Cf", "Mn"))


def _reading(text: str) -> str:
    """What the patterns read, as long as `text`: full-width characters and numerals of long numbers as ASCII, and
    blanks in place of other Chinese characters.
    """
    if text.isascii():
        return text
    plain = "".join(form if len(form := unicodedata.normalize("NFKC", one)) == 1 else one for one in text)
    plain = _LONG_NUMERAL.sub(lambda match: match[0].translate(_NUMERALS), plain)
    return _HAN.sub(" ", plain)


@lru_cache(1)
def _recognizers() -> Recognizers:
    # Here, since images of services that mask nothing do not have the package.
    from services.common.personal_data_recognizers import Recognizers

    return Recognizers()
