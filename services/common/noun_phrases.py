"""Noun phrases of titles and queries in English. Their last word, the head, says what a product is.

"Leather case for Apple iPad" is a case: what follows a preposition describes it. No dictionary is needed for that, only
the order of the words.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['’.+-][^\W_]+)*")
# "Slip-on" and "all in one" are no prepositions, and neither is the "in." of inches.
_PREPOSITION = re.compile(
    r"(?<![\w-])(?:(?:for|with|without|w/o|from|of|per|featuring|including|includes?|compatible|fits|designed|up to)"
    r"(?![\w-])|w/|(?<!all )in(?![\w.-]))|[,;]\s",
)
_FOR = re.compile(r"\w\s+for\s+\w")
# "A set of knives" is knives.
_QUANTITY = re.compile(r"^\s*(?:an? )?(?:set|pair|pack|box|case|lot|bundle|package)s? of (?=\S)")
# "22-mile, 7-channel radio" is a radio.
_AFTER_NUMBER = re.compile(r"(?<=\d),\s|(?<=\d)(?P<unit>-[a-z]+),\s")
# Words that say how a product is sold or built, and not what it is: a speaker system is a speaker.
FORMS = frozenset((
    "system", "set", "pack", "pair", "combo", "package", "bundle", "series", "unit", "device", "machine", "edition",
    "class", "value", "collection", "assortment", "piece", "count", "disc", "only",
))  # fmt: skip
_IRREGULAR = {
    "lens": "lens", "lenses": "lens", "series": "series", "mice": "mouse", "knives": "knife", "shelves": "shelf",
    "scarves": "scarf", "gases": "gas",
}  # fmt: skip


def singular(word: str) -> str:
    """The singular of a lower-case English word, by its last letters. Singular and plural give the same result."""
    if irregular := _IRREGULAR.get(word):
        return irregular
    if len(word) < 4 or word[-1] != "s" or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]


def noun_phrase(text: str) -> list[str]:
    """The words of the first noun phrase of a lower-case text, in the singular, the head last; empty without a word.

    Numbers and model names at its end are left out, and so are words for the form of a product.
    """
    text = _AFTER_NUMBER.sub(lambda match: f"{match['unit'] or ''} ", _QUANTITY.sub("", text))
    start, words = 0, list[str]()
    while not words:
        end = _PREPOSITION.search(text, start)
        words = [singular(word) for word in _WORD.findall(text, start, end.start() if end else len(text))]
        while words and any(character.isdigit() for character in words[-1]):
            words.pop()
        if end is None:
            break
        start = end.end()
    while len(words) > 1 and words[-1] in FORMS and not any(character.isdigit() for character in words[-2]):
        words.pop()
    return words


def before_preposition(text: str) -> str:
    """A lower-case text until its first preposition; all of it if it begins with one."""
    text = _QUANTITY.sub("", text)
    end = _PREPOSITION.search(text)
    return text if end is None or not end.start() else text[: end.start()]


def says_for(text: str) -> bool:
    """Whether a lower-case text says what something is for, behind its first word."""
    return _FOR.search(text) is not None
