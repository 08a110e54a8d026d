"""The words of a tenant's shop, learned from its products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from services.common.product import CATEGORY_SEPARATOR, Product, category_ancestry
from services.common.scripts import is_han
from services.query_encoder.domain.text import normal_form, words

COLOUR_ATTRIBUTES = ("colour", "color")
# Characters of a word; longer ones are not learned.
_MAX_WORD = 32
# Numbers of words in a phrase.
_PHRASES = (2, 3)


@dataclass
class LexiconUpdate:
    """What a batch of products adds to a lexicon. Brands, colours and categories are keyed by their normal form."""

    words: Counter[str] = field(default_factory=Counter)
    phrases: Counter[str] = field(default_factory=Counter)
    brands: dict[str, str] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


@dataclass
class Lexicon:
    """Words and phrases with the number of titles that contain them. Brands, colours and categories: by normal form,
    the name as the shop writes it.
    """

    words: dict[str, int] = field(default_factory=dict)
    # Two or three consecutive words. A store may leave out phrases of a single title.
    phrases: dict[str, int] = field(default_factory=dict)
    brands: dict[str, str] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    # Leaf name -> whole path: "running shoes" -> "Shoes > Running Shoes".
    categories: dict[str, str] = field(default_factory=dict)
    # Increases with every change. What is derived from the lexicon is recomputed when the version differs.
    version: int = 0

    def add(self, update: LexiconUpdate, version: int) -> None:
        for counts, more in ((self.words, update.words), (self.phrases, update.phrases)):
            for text, count in more.items():
                counts[text] = counts.get(text, 0) + count
        for mine, new in (
            (self.brands, update.brands),
            (self.colours, update.colours),
            (self.categories, update.categories),
        ):
            mine.update(new)
        self.version = version


def learn(products: Iterable[Product]) -> LexiconUpdate:
    """Words of titles, brands and categories, phrases of titles, and names of brands, colours and categories."""
    update = LexiconUpdate()
    for product in products:
        titles = [words(normal_form(title)) for title in (product.title, *product.localized_titles.values())]
        names = (words(normal_form(name)) for name in (product.brand, *product.category_path))
        update.words.update(word for word in set(chain(*titles, *names)) if len(word) <= _MAX_WORD)
        update.phrases.update({phrase for title in titles for phrase in _phrases(title)})
        update.brands.update(_by_normal_form([product.brand]))
        for name in COLOUR_ATTRIBUTES:
            update.colours.update(_by_normal_form(product.attributes.get(name, ())))
        for path in category_ancestry(product.category_path):
            update.categories[normal_form(path.rsplit(CATEGORY_SEPARATOR, 1)[-1])] = path
    return update


def joined(parts: Sequence[str]) -> str:
    """The words as one text. Chinese words have no space between them."""
    text = " ".join(parts)
    if text.isascii():
        return text
    text = "".join(parts[:1])
    for before, part in pairwise(parts):
        text += part if is_han(before[0]) and is_han(part[0]) else f" {part}"
    return text


def _phrases(parts: Sequence[str]) -> Iterator[str]:
    short = [word if len(word) <= _MAX_WORD else "" for word in parts]
    for size in _PHRASES:
        for run in zip(*(short[start:] for start in range(size)), strict=False):
            if all(run):
                yield joined(run)


def _by_normal_form(values: Iterable[str]) -> Mapping[str, str]:
    return {normal: value for value in values if (normal := normal_form(value))}
