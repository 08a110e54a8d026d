"""The words of a tenant's shop, learned from its products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from services.common.comparison import comparison_form
from services.common.product import CATEGORY_SEPARATOR, Product, category_ancestry
from services.common.scripts import is_han
from services.query_encoder.domain.text import normal_form, words

# Characters of a word; longer ones are not learned.
_MAX_WORD = 32
# Numbers of words in a phrase.
_PHRASES = (2, 3)
# Characters of an attribute's value; longer ones are not learned.
_MAX_VALUE = 48
# Attributes of a lexicon, and values of one attribute. A store adds no further ones.
MAX_ATTRIBUTES, MAX_VALUES = 64, 1_000


@dataclass
class LexiconUpdate:
    """What a batch of products adds to a lexicon. The fields are those of Lexicon."""

    words: Counter[str] = field(default_factory=Counter)
    phrases: Counter[str] = field(default_factory=Counter)
    brands: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Lexicon:
    """Words and phrases with the number of titles that contain them. Brands and categories: by normal form, the name as
    the shop writes it.
    """

    words: dict[str, int] = field(default_factory=dict)
    # Two or three consecutive words. A store may leave out phrases of a single title.
    phrases: dict[str, int] = field(default_factory=dict)
    brands: dict[str, str] = field(default_factory=dict)
    # Leaf name -> whole path: "running shoes" -> "Shoes > Running Shoes".
    categories: dict[str, str] = field(default_factory=dict)
    # By attribute, in their `comparison_form`: values by their normal form, "dark blue" -> "Dark Blue".
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    # Increases with every change. What is derived from the lexicon is recomputed when the version differs.
    version: int = 0

    def add(self, update: LexiconUpdate, version: int) -> None:
        for counts, more in ((self.words, update.words), (self.phrases, update.phrases)):
            for text, count in more.items():
                counts[text] = counts.get(text, 0) + count
        self.brands.update(update.brands)
        self.categories.update(update.categories)
        for attribute, values in update.values.items():
            self.values.setdefault(attribute, {}).update(values)
        self.version = version

    def values_of(self, attribute: str) -> dict[str, str]:
        return self.values.get(comparison_form(attribute), {})


def learn(products: Iterable[Product]) -> LexiconUpdate:
    """Words of titles, brands and categories, phrases of titles, names of brands and categories, values of attributes.

    All attributes: which of them a query may filter is decided later, by the conditions of the domain.
    """
    update = LexiconUpdate()
    for product in products:
        titles = [words(normal_form(title)) for title in (product.title, *product.localized_titles.values())]
        names = (words(normal_form(name)) for name in (product.brand, *product.category_path))
        update.words.update(word for word in set(chain(*titles, *names)) if len(word) <= _MAX_WORD)
        update.phrases.update({phrase for title in titles for phrase in _phrases(title)})
        update.brands.update(_by_normal_form([product.brand]))
        for name, values in product.attributes.items():
            if known := {normal: value for normal, value in _by_normal_form(values).items() if _is_a_name(normal)}:
                update.values.setdefault(comparison_form(name), {}).update(known)
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


def _is_a_name(normal: str) -> bool:
    """A number is no name: "42" in a query may count or measure anything."""
    return len(normal) <= _MAX_VALUE and any(character.isalpha() for character in normal)


def _by_normal_form(values: Iterable[str]) -> Mapping[str, str]:
    return {normal: value for value in values if (normal := normal_form(value))}
