"""What a product is for, as its title says: "Battery for Canon EOS and Nikon D90" is for "canon eos" and "nikon d90".

Only the order of the words is read: what follows "for", "fits" or "compatible with". No dictionary of brands is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.common.noun_phrases import singular
from services.common.product import Product
from services.common.scripts import has_han
from services.common.typed_text import folded

MAX_PHRASES = 8
# Characters of a phrase; a longer one is left out.
MAX_PHRASE = 64
_FOR = re.compile(r"(?<![\w-])(?:for(?: use with)?|fits?|(?:compatible|works) with)\s(?![\w-]*-?in\b)")
_END = re.compile(
    r"\s[-–—|]\s(?!\d)|[()\[\];:]|"
    r"(?<![\w-])(?:for|fits?|compatible|works|with|without|in|featuring|by|from|includ\w+|up to)(?![\w.-])|$"
)
_ALTERNATIVES = re.compile(r"[,/&+]|(?<![\w-])(?:and|or)(?![\w-])")
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_VAGUE = frozenset((
    "most", "select", "selected", "many", "all", "any", "every", "your", "other", "some", "various", "certain", "the",
    "a", "an", "of", "more", "model", "series", "sery", "device", "use",
))  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a text in lower case and in the singular, as phrases have them."""
    return [singular(word) for word in _WORD.findall(folded(text))]


def compatible_with(product: Product) -> tuple[str, ...]:
    """The phrases, each of words as `words_of` gives them; none if no title in English says what the product is for."""
    titles = (product.title, *product.localized_titles.values())
    title = next((title for title in titles if title and not has_han(title)), "")
    return tuple(dict.fromkeys(_phrases(folded(title))))[:MAX_PHRASES]


def _phrases(title: str) -> Iterator[str]:
    for found in _FOR.finditer(title):
        end = _END.search(title, found.end())
        part = title[found.end() : end.start() if end else len(title)]
        for alternative in _ALTERNATIVES.split(part):
            words = [word for word in map(singular, _WORD.findall(alternative)) if word not in _VAGUE]
            phrase = " ".join(words)
            # "2" of "iPad 1 and 2" says nothing alone.
            if len(phrase) <= MAX_PHRASE and any(word.isalpha() or len(word) > 2 for word in words):
                yield phrase
