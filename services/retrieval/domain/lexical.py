"""Preparation of text for BM25, the same for products and for queries.

The engine's multilingual tokenizer segments Chinese, folds accents and stems English, but it drops tokens made of
digits only, does not recognise units, and keeps letters such as ß and traditional Chinese characters. In a shop
"12 gauge", "3/4 in." and "6ft" carry much of the meaning, so numbers become words here ("3/4" -> "n3s4"), and the usual
spellings of a unit become one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from services.common.product import Product
from services.common.scripts import HAN, has_han
from services.common.traditional_chinese import simplified
from services.common.typed_text import decoded, folded, unaccented
from services.retrieval.domain.absence import absence_word, absences

# Short spellings count only after a number: "in" and "a" are also words. Long ones count anywhere.
_UNITS = {
    "ft": ("ft", "foot|feet"),
    "inch": ("in", "inch|inches"),
    "lb": ("lb|lbs", "pound|pounds"),
    "gal": ("gal", "gallon|gallons"),
    "oz": ("oz", "ounce|ounces"),
    "sq": ("sq", "square"),
    "cu": ("cu", "cubic"),
    "yd": ("yd|yds", "yard|yards"),
    "watt": ("w", "watt|watts"),
    "volt": ("v", "volt|volts"),
    "amp": ("a", "amp|amps"),
    "kg": ("kg", "kilogram|kilograms"),
    "cm": ("cm", "centimeter|centimeters|centimetre|centimetres"),
    "mm": ("mm", "millimeter|millimeters|millimetre|millimetres"),
    "gb": ("gb|g", "gigabyte|gigabytes"),
}
_CANONICAL = {
    spelling: canonical for canonical, spellings in _UNITS.items() for part in spellings for spelling in part.split("|")
} | {"'": "ft", "''": "inch", '"': "inch"}


def _any_of(alternatives: list[str]) -> str:
    return "|".join(sorted((re.escape(a) for part in alternatives for a in part.split("|")), key=len, reverse=True))


_SHORT = _any_of([short for short, _ in _UNITS.values()])
_LONG = _any_of([long for _, long in _UNITS.values()])
_AFTER_NUMBER = re.compile(rf"(?<=\d)\s*-?\s*(?:(?P<word>{_SHORT})(?![a-z])\.?|(?P<sign>''|\"|'(?!s)))")
_ANYWHERE = re.compile(rf"(?<![a-z])({_LONG})(?![a-z])")
_BETWEEN_DIGIT_AND_LETTER = re.compile(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)")
_TIMES = re.compile(r"(?<=\d)\s*(?:x|\*|×|by)\s*(?=\d)")
# "3,5 mm", but neither "1,000 mm" nor the list "8, 10 mm".
_COMMA = re.compile(rf"(?<=(?<![\d,.])\d),(?=\d\d?\s*-?\s*(?:{_SHORT}|{_LONG}|ml|m|l)(?![a-z]))")
_BEFORE_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_NUMBER = re.compile(r"\d+(?:[./⁄]\d+)?")
_WORD = re.compile(r"[a-z]{2,}")
_WITHOUT_VOWEL = re.compile(r"[b-df-hj-np-tv-xz]{2,6}")
_PHRASE_PART = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+")


def is_unit(word: str) -> bool:
    """Whether a word in lower case is a spelling of a unit, if it stands behind a number."""
    return word in _CANONICAL


def also_written(word: str, behind: str) -> list[str]:
    """Other words of titles that stand for a word in lower case, before the word `behind`: "tvs" for "tv", whose plural
    the stemmer does not know, and 15.4 or 15.6 for the screen of "15 inch".
    """
    if word.isascii() and word.isdigit() and _CANONICAL.get(behind) == "inch":
        return [f"{word}.{tenth}" for tenth in range(1, 10)]
    other = word[:-1] if word.endswith("s") else f"{word}s"
    return [other] if _WITHOUT_VOWEL.fullmatch(word) and len(other) > 1 else []


def lexical_text(text: str) -> str:
    """Lower-case text in which numbers are words and units have one spelling; still to be tokenized."""
    # Else "1½" would become 11/2.
    text = _BEFORE_FRACTION.sub(" ", decoded(text))
    return _with_words_for_numbers(simplified(unaccented(folded(text))))


def _with_words_for_numbers(text: str) -> str:
    text = _COMMA.sub(".", text)
    text = _TIMES.sub(" x ", text)
    text = _AFTER_NUMBER.sub(lambda match: f" {_CANONICAL[match['word'] or match['sign']]} ", text)
    text = _ANYWHERE.sub(lambda match: f" {_CANONICAL[match.group(1)]} ", text)
    text = _BETWEEN_DIGIT_AND_LETTER.sub(" ", text)
    return _NUMBER.sub(_number_word, text)


def lexical_query(text: str) -> str:
    """As `lexical_text`, with neighbouring words also joined: shoppers write "deck over" for DeckOver."""
    words = _WORD.findall(unaccented(folded(text)))
    joined = (left + right for left, right in itertools.pairwise(words))
    # Products that an earlier version indexed have ß and traditional characters.
    prepared, written = lexical_text(text), [] if text.isascii() else [_with_words_for_numbers(folded(text))]
    plurals = (other for word in words for other in also_written(word, ""))
    return " ".join([prepared, *joined, *plurals, *(one for one in written if one != prepared)])


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Finds the words of `phrase` in this order and side by side, in a text in lower case."""
    parts = [re.escape(part) for part in _PHRASE_PART.findall(phrase)]
    # Between Chinese characters nothing has to stand.
    joined = "".join(
        part if not number else rf"{'[^a-z0-9]*' if has_han(parts[number - 1] + part) else r'[^a-z0-9]+'}{part}"
        for number, part in enumerate(parts)
    )
    return re.compile(rf"(?<![a-z0-9]){joined}(?![a-z0-9])")


def heading(product: Product) -> str:
    """Title and brand, which count in full."""
    return _joined((product.title, *product.localized_titles.values(), product.brand))


def body(product: Product) -> str:
    """Category, attributes and description, which count less."""
    return _joined(_body_parts(product))


def absent(product: Product) -> str:
    """A word for each absence that a text of the product states."""
    texts = (product.title, *product.localized_titles.values(), *_body_parts(product))
    text = folded("\n".join(texts))
    return " ".join(dict.fromkeys(map(absence_word, absences(text))))


def _body_parts(product: Product) -> Iterator[str]:
    yield from product.category_path
    for values in product.attributes.values():
        yield from values
    yield product.description
    yield from product.localized_descriptions.values()


def _joined(parts: tuple[str, ...] | Iterator[str]) -> str:
    return lexical_text("\n".join(part for part in parts if part))


def _number_word(match: re.Match[str]) -> str:
    return f" n{match.group().replace('.', 'p').replace('/', 's').replace('⁄', 's')} "
