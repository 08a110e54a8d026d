"""What a product is for, as its title says: "Battery for Canon EOS and Nikon D90" is for "canon eos" and "nikon d90".

Only the order of the words is read: what follows "for", "fits" or "compatible with". No dictionary of brands is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.common.noun_phrases import singular
from services.common.product import Product
from services.common.product_type import MEDIA, product_type
from services.common.scripts import has_han
from services.common.typed_text import folded

MAX_PHRASES = 8
# Characters of a phrase; a longer one is left out.
MAX_PHRASE = 64
_FOR = re.compile(r"(?<![\w-])(?:for(?: use with)?|fits|(?:compatible|works) with)\s(?![\w-]*-?in\b)")
_END = re.compile(
    r"\s[-–—|]\s(?!\d)|[()\[\];:]|"
    r"(?<![\w-])(?:for|fits|compatible|works|with|without|in|featuring|by|from|includ\w+|up to)(?![\w.-])|$"
)
_WITH = re.compile(r"\swith(?:out)?\s")
_PARTS = re.compile(r"\s+[-–—|/]+\s+")
_ALTERNATIVES = re.compile(r"[,/&+]|(?<![\w-])(?:and|or)(?![\w-])")
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_VAGUE = frozenset((
    "most", "select", "selected", "many", "all", "any", "every", "your", "other", "some", "various", "certain", "the",
    "a", "an", "of", "more", "model", "series", "sery", "device", "use",
))  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a text in lower case and in the singular, as phrases have them."""
    return [singular(word) for word in _WORD.findall(folded(text))]


def name_words(title: str, brand: str) -> frozenset[str]:
    """The words by which titles of accessories name a product: of its brand, name and type, and all with a digit.

    What comes after the name, "with LCD - 4GB Memory", are parts of the product: TV stands are not for its LCD.
    """
    parts = [part for part in _PARTS.split(folded(title)) if part.strip()]
    has_brand = bool(parts) and words_of(parts[0]) == words_of(brand)
    names = [_WITH.split(part)[0] for part in parts[: 1 + has_brand]]
    named = words_of(" ".join([brand, *names, product_type(Product(id="-", title=title, brand=brand))]))
    return frozenset(named + [word for word in words_of(title) if any(map(str.isdigit, word))])


def compatible_with(product: Product) -> tuple[str, ...]:
    """The phrases, each of words as `words_of` gives them; none if no title in English says what the product is for."""
    titles = (product.title, *product.localized_titles.values())
    title = next((title for title in titles if title and not has_han(title)), "")
    phrases = tuple(dict.fromkeys(_phrases(folded(title))))[:MAX_PHRASES]
    # "Songs for the Road - CD" is for no road.
    return phrases if phrases and product_type(product) not in MEDIA else ()


def _phrases(title: str) -> Iterator[str]:
    for found in _FOR.finditer(title):
        end = _END.search(title, found.end())
        part = title[found.end() : end.start() if end else len(title)]
        alternatives = [
            [word for word in _WORD.findall(alternative) if singular(word) not in _VAGUE]
            for alternative in _ALTERNATIVES.split(part)
        ]
        *_, last = (words[-1] for words in [[""], *alternatives] if words)
        for spelled in alternatives:
            if len(spelled) == 1 and singular(spelled[0]) == spelled[0] and singular(last) != last:
                # "HP and Compaq Laptops": the noun at the end is that of each.
                spelled.append(last)
            words = list(map(singular, spelled))
            phrase = " ".join(words)
            # "2" of "iPad 1 and 2" says nothing alone.
            if len(phrase) <= MAX_PHRASE and any(word.isalpha() or len(word) > 2 for word in words):
                yield phrase
