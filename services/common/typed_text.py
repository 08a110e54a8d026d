"""Text of a shop as a shopper would type it. What is indexed and what is looked up pass through here alike."""

from __future__ import annotations

import html
import re
import unicodedata

# Only with its semicolon: "R&D" and "AT&TITLE" hold no entity.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# A shop that escapes twice writes "&amp;amp;".
_ESCAPES = 3
# Trademark, registered, copyright, service mark, sound recording. NFKC makes letters of the first and the fourth:
# they have to go before it.
_SIGNS = re.compile("[™®©℠℗]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")
# Letters that are no plain letter with an accent.
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th", "ð": "d"})
_SIGNS_INSIDE = re.compile(rf"{_SIGNS.pattern}(?=\w)")


def decoded(text: str) -> str:
    """Without HTML entities: "Black &amp; Decker" is "Black & Decker". Unknown entities stay as they are."""
    if "&" not in text:
        return text
    for _ in range(_ESCAPES):
        text, before = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text), text
        if text == before:
            break
    return text


def as_typed(text: str) -> str:
    """`decoded`, and without trademark signs: "Lifestyle&trade; speaker" is "Lifestyle speaker"."""
    text = decoded(text)
    return text if text.isascii() else _SIGNS.sub("", _SIGNS_INSIDE.sub(" ", text))


def folded(text: str) -> str:
    """`as_typed`, in Unicode normal form NFKC (full-width letters become plain ones) and in lower case."""
    # Else the İ of "İSTANBUL" becomes an i and a dot above it.
    return unicodedata.normalize("NFKC", as_typed(text)).replace("İ", "i").lower()


def unaccented(text: str) -> str:
    """A text in lower case as it is typed without accents: "große" is "grosse", "müller" is "muller"."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text.translate(_LETTERS))))
