"""A text as moderation reads it: its words in one form, and its Chinese characters.

Case, width, plural s, traditional characters, letters written as digits (c0caine) and letters that stand apart
(g.u.n.s) make no difference.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from services.common.traditional_chinese import simplified

EMAIL, PHONE = "<email>", "<phone>"
# Characters of a text that are read: beyond them a description is not.
MAX_READ = 20_000
_WORD = re.compile(r"<email>|<phone>|[a-z0-9\u00df-\u024f]+(?:[.:/'-][a-z0-9\u00df-\u024f]+)*%?")
_PART = re.compile(r"[a-z0-9\u00df-\u024f]+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# Seven to fifteen digits, in groups of at least three or with a plus; not a part of a code such as AB-1234567.
_PHONE = re.compile(
    r"(?<![\w.,-])(?:\+\d[\d ()-]{6,17}\d|\(?\d{3}\)?[ -]\d{3}[ -]?\d{4}|1[3-9]\d{9}|\d{8,9})(?![\w.,-]?\d)"
)
_SENTENCE = re.compile(r"[.!?;](?=\s)|[\n\r。！？；•]")
_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
_AS_LETTERS = str.maketrans("013457", "oieast")
_SPELLED = 4


@dataclass(frozen=True)
class ReadText:
    """`words` in order; `plain`: the whole text, for phrases in Chinese, without blanks between its characters."""

    words: tuple[str, ...]
    plain: str


def normalized(text: str) -> str:
    """Lower case, one form of each character, without invisible ones."""
    text = text[:MAX_READ]
    if text.isascii():
        return text.lower()
    return simplified(unicodedata.normalize("NFKC", text).casefold().translate(_INVISIBLE))


def with_contacts_named(text: str) -> str:
    """A normalized text, with addresses and telephone numbers replaced by their names."""
    if "@" in text:
        text = _EMAIL.sub(f" {EMAIL} ", text)
    return _PHONE.sub(f" {PHONE} ", text)


def read(text: str) -> ReadText:
    """Of a normalized text."""
    words = list[str]()
    spelled = list[str]()
    for word in _WORD.findall(text):
        if len(word) == 1 and word.isalpha():
            spelled.append(word)
            continue
        if spelled:
            words.extend(_joined(spelled))
            spelled = []
        words.extend(forms(word))
    words.extend(_joined(spelled))
    return ReadText(tuple(words), text)


def sentences(text: str) -> list[str]:
    """Of a normalized text."""
    return [part for part in _SENTENCE.split(text) if part.strip()]


def _joined(letters: list[str]) -> list[str]:
    return [*forms("".join(letters))] if len(letters) >= _SPELLED else letters


@lru_cache(maxsize=100_000)
def forms(word: str) -> tuple[str, ...]:
    """The forms of one word: of its parts too if it is compound ("ar-15" is ar-15, ar and 15)."""
    if word in (EMAIL, PHONE):
        return (word,)
    whole = _form(word)
    parts = [_form(part) for part in _PART.findall(word)] if not word.isalnum() else []
    if len(parts) >= _SPELLED and all(len(part) == 1 for part in parts):
        return (_form("".join(parts)),)
    return tuple(dict.fromkeys([whole, *parts]))


def _form(word: str) -> str:
    if word.isalnum() and not word.isalpha() and not word.isdigit() and sum(map(str.isdigit, word)) <= len(word) // 3:
        word = word.translate(_AS_LETTERS)
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word
