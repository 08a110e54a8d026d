"""Text of a shop as a shopper would type it. What is indexed and what is looked up pass through here alike."""

from __future__ import annotations

import html
import re
import unicodedata

from services.common.scripts import HAN

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
# Characters that nobody sees, inside a word: soft hyphens, joiners, marks of direction, variation selectors, tags. Not
# the space without width (U+200B), which ends a word, and not in scripts whose spelling needs joiners.
_PLAIN_SCRIPTS = f"0-9A-Za-z\u00c0-\u024f\u0370-\u052f{HAN}"
_UNSEEN = re.compile(
    f"(?<=[{_PLAIN_SCRIPTS}])[\u00ad\u034f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]+"
    f"(?=[{_PLAIN_SCRIPTS}])"
)
# Words of Latin letters with Cyrillic or Greek ones between them, and the letters of these scripts that look the same.
_MIXED = re.compile("(?=[\u0370-\u052f]*[A-Za-z])(?=[A-Za-z]*[\u0370-\u052f])[A-Za-z\u0370-\u052f]+")
_LOOK_ALIKE = str.maketrans(
    "\u043a\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d\u0410\u0412\u0415\u041a\u041c\u041d"
    "\u041e\u0420\u0421\u0422\u0423\u0425\u0405\u0406\u0408\u03bf\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f"
    "\u03a1\u03a4\u03a5\u03a7",
    "kaeopcyxsijhdqwABEKMHOPCTYXSIJoABEZHIKMNOPTYX",
)


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
    """`decoded`, as it is seen, and without trademark signs: "Lifestyle&trade; speaker" is "Lifestyle speaker".

    Characters that nobody sees inside a word are left out, and Cyrillic or Greek letters in a Latin word are those that
    they look like: neither hides a word.
    """
    text = decoded(text)
    return text if text.isascii() else _SIGNS.sub("", _SIGNS_INSIDE.sub(" ", _as_seen(text)))


def _as_seen(text: str) -> str:
    return _MIXED.sub(lambda word: word[0].translate(_LOOK_ALIKE), _UNSEEN.sub("", text))


def folded(text: str) -> str:
    """`as_typed`, in Unicode normal form NFKC (full-width letters become plain ones) and in lower case."""
    # Else the İ of "İSTANBUL" becomes an i and a dot above it.
    return unicodedata.normalize("NFKC", as_typed(text)).replace("İ", "i").lower()


def unaccented(text: str) -> str:
    """A text in lower case as it is typed without accents: "große" is "grosse", "müller" is "muller"."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text.translate(_LETTERS))))
