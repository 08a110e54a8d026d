"""What a product is, read from its title: the head of the title's first noun phrase.

Titles of shops are written alike: "Brand - Name with Feature - Colour". Brackets, measures, and the brand at the
beginning are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.common.noun_phrases import before_preposition, noun_phrase, says_for, singular
from services.common.product import Product
from services.common.scripts import has_han
from services.common.typed_text import folded

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_UNITS = (
    "in|inch|inches|ft|foot|feet|sq|cu|oz|gal|gallons?|lbs?|qt|mm|cm|m|w|v|yds?|pt|ga|amps?|volts?|watts?|pk|pc|ct|dia|psi|"
    "mil|kg|g|ml|l|ghz|mhz|hz|gb|tb|mb|btu|p"
)
_MEASURE = re.compile(
    rf"#?\d[\d.,/⁄-]*\s*-?(?:\s*(?:{_UNITS})\b\.?|''|\"|\\(?!\w)|')|(?<!\S)(?:x|×|dia\.|[whdl])(?!\S)"
)
_BETWEEN_NUMBERS = re.compile(r"(?<=0)\s+-\s+(?=0)")
# Of "3D / Internet Connectable Blu-ray Disc Player" the first part is no name.
_FEATURE = re.compile(r"(?<!\S)\d\S*(?: [a-z])?\s+/\s+")
_PARTS = re.compile(r"\s+[-–—|/]+\s+|(?<=\w):\s+")
# A last part that is one of these says what the product is, whatever its name is: "Hidden Camera - DVD".
MEDIA = frozenset((
    "dvd", "cd", "blu-ray", "vinyl", "lp", "vhs", "umd", "cassette", "paperback", "hardcover", "audiobook", "ebook",
))  # fmt: skip
_LAST = MEDIA | {"hdtv", "tv", "television"}
# Types of works, whose titles name all kinds of things.
PUBLISHED = MEDIA | {"game", "software"}
# Characters of a type; a longer word names none.
MAX_TYPE = 64
_LETTER = re.compile(r"[^\W\d_]")
# Of a last part that is a platform the product is a game for it, or what a bracket says: "(Game Guide)".
_PLATFORM = re.compile(r"(?:nintendo|playstation|xbox|psp|ps ?[1-9v]|wii|gamecube|game ?boy|sega)\b[^,/]*")
_SYSTEM = re.compile(r"windows|mac(?: os(?: x)?)?|linux|pc")
_WORDS = re.compile(r"[^\W_]+(?:['’.+-][^\W_]+)*")
_LIST = re.compile(r"\s*[,/]\s*")


@dataclass(frozen=True)
class TitleReading:
    """`type`: the head; empty if no title in English shows it. `phrase`: the words that name the product, in lower
    case, without those that say what it is for and what it comes with. `lead`: the first of them behind the brand.
    """

    type: str = ""
    phrase: str = ""
    lead: str = ""


def product_type(product: Product) -> str:
    """One English word in lower case and in the singular; empty if no title in English shows it."""
    return read_title(product).type


def read_title(product: Product) -> TitleReading:
    """Of the first title in English."""
    titles = (product.title, *product.localized_titles.values())
    title = next((title for title in titles if title and not has_han(title)), "")
    reading = _read(title, product.brand) if title else TitleReading()
    return reading if len(reading.type) <= MAX_TYPE else replace(reading, type="")


def _read(title: str, brand: str) -> TitleReading:
    text, brand = folded(title), folded(brand)
    own = without_measures = _BRACKETS.sub(" ", text)
    if any(map(str.isdigit, text)):
        without_measures = _FEATURE.sub("", _BETWEEN_NUMBERS.sub(" ", _MEASURE.sub(" 0 ", own)))
    parts = [part for part in _PARTS.split(without_measures) if _LETTER.search(part)]
    has_maker = len(parts) > 1 and (_letters(parts[0]) == _letters(brand) or _is_maker(*parts[:2]))
    parts = parts[has_maker:]
    last = noun_phrase(parts[-1]) if parts else []
    if len(last) == 1 and last[0] in _LAST:
        return TitleReading(last[0], text)
    if len(parts) > 1 and all(map(_PLATFORM.fullmatch, _LIST.split(parts[-1].strip()))):
        brackets = _BRACKETS.findall(text)
        stated = noun_phrase(brackets[-1].strip("()[]")) if brackets else []
        return TitleReading(stated[-1] if len(stated) > 1 else "game", text)
    if len(parts) > 1 and all(map(_SYSTEM.fullmatch, _LIST.split(parts[-1].strip()))):
        return TitleReading("software", text)
    # Of "46-inch class / 1080p / LCD HDTV" the class is no product.
    found = next((phrase for part in parts if (phrase := noun_phrase(part))[-1:] != ["class"]), [])
    naming = f"{brand} {_naming(_PARTS.split(own)[has_maker:], found[-1]) if found else own}"
    makers = set(_WORDS.findall(brand))
    lead = next((word for word in _WORDS.findall(parts[0]) if word not in makers), "") if parts else ""
    # A title of brand and model alone does not say what the product is.
    return TitleReading(found[-1] if found and found != noun_phrase(brand) else "", naming, lead)


def _naming(parts: Sequence[str], head: str) -> str:
    """The parts of a title up to the one with the head, each until its first preposition."""
    kept = []
    for part in parts:
        own = before_preposition(part)
        kept.append(own)
        if head in map(singular, _WORDS.findall(own)):
            break
    return " ".join(kept)


def _is_maker(first: str, second: str) -> bool:
    """Of "Maker - Stand for TVs", whatever brand the product has."""
    return says_for(second) and not says_for(first)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))
