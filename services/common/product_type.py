"""What a product is, read from its title: the head of the title's first noun phrase.

Titles of shops are written alike: "Brand - Name with Feature - Colour". Brackets, measures, and the brand at the
beginning are left out.
"""

from __future__ import annotations

import re

from services.common.noun_phrases import noun_phrase
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
_PARTS = re.compile(r"\s+[-–—|/]+\s+|(?<=\w):\s+")
# A last part that is one of these says what the product is, whatever its name is: "Hidden Camera - DVD".
MEDIA = frozenset((
    "dvd", "cd", "blu-ray", "vinyl", "lp", "vhs", "umd", "cassette", "paperback", "hardcover", "audiobook", "ebook",
))  # fmt: skip
_LAST = MEDIA | {"hdtv", "tv", "television"}
# Characters of a type; a longer word names none.
MAX_TYPE = 64
_LETTER = re.compile(r"[^\W\d_]")


def product_type(product: Product) -> str:
    """One English word in lower case and in the singular; empty if no title in English shows it."""
    titles = (product.title, *product.localized_titles.values())
    title = next((title for title in titles if title and not has_han(title)), "")
    found = _type_of(title, product.brand) if title else ""
    return found if len(found) <= MAX_TYPE else ""


def _type_of(title: str, brand: str) -> str:
    text, brand = folded(title), folded(brand)
    if any(map(str.isdigit, text)):
        text = _BETWEEN_NUMBERS.sub(" ", _MEASURE.sub(" 0 ", text))
    parts = [part for part in _PARTS.split(_BRACKETS.sub(" ", text)) if _LETTER.search(part)]
    if len(parts) > 1 and brand and _letters(parts[0]) == _letters(brand):
        parts = parts[1:]
    last = noun_phrase(parts[-1]) if parts else []
    if len(last) == 1 and last[0] in _LAST:
        return last[0]
    # Of "46-inch class / 1080p / LCD HDTV" the class is no product.
    found = next((phrase for part in parts if (phrase := noun_phrase(part))[-1:] != ["class"]), [])
    # A title of brand and model alone does not say what the product is.
    return found[-1] if found and found[-1] not in brand.split() else ""


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))
