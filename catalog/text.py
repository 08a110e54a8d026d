"""Text of a cell as it was meant: without HTML entities, without invisible characters, and whether it says nothing."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

# Only with its semicolon: "R&D" and "AT&TITLE" hold no entity.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# A shop that escapes twice writes "&amp;amp;".
_ESCAPES = 3
# What programs write for an empty cell. "None" is one only in this spelling: "none" may be a value of an attribute.
_MISSING = frozenset({"nan", "null", "nil", "n/a", "#n/a", "<na>", "undefined", "\\n", "-", "--", "–", "—"})
_LONGEST = max(map(len, _MISSING))
_INVISIBLE = "\ufeff\u200b\u2060"


def decoded(text: str) -> str:
    """Without HTML entities: "Black &amp; Decker" is "Black & Decker". Unknown entities stay as they are."""
    if "&" not in text:
        return text
    for _ in range(_ESCAPES):
        text, before = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text), text
        if text == before:
            break
    return text


def stripped(text: str) -> str:
    """Without spaces and invisible characters around."""
    text = text.strip()
    while text and (text[0] in _INVISIBLE or text[-1] in _INVISIBLE):
        text = text.strip(_INVISIBLE).strip()
    return text


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: None, NaN, blank, or a word that programs write for it, such as "null"."""
    if isinstance(value, str):
        text = stripped(value)
        return not text or (len(text) <= _LONGEST and (text == "None" or text.lower() in _MISSING))
    return value is None or value != value


def with_plain_digits(text: str) -> str:
    """Digits and signs of any script as ASCII: "１，２９９．００" is "1,299.00". Superscripts stay."""
    return text if text.isascii() else "".join(_plain(character) for character in text)


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if character in _SIGNS:
        return _SIGNS[character]
    category = unicodedata.category(character)
    if category == "Cf":  # a mark of direction, a soft hyphen
        return ""
    return " " if category == "Zs" else character


_SIGNS = {
    "．": ".", "，": ",", "＋": "+", "－": "-", "−": "-", "’": "'", "‘": "'", "ʼ": "'", "＇": "'", "´": "'",
    "٫": ".", "٬": "'", "：": ":", "／": "/",
}  # fmt: skip
