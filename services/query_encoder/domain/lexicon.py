"""The tenant's own words, learned from the products that it imports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.common.product import CATEGORY_SEPARATOR, Product, category_ancestry
from services.query_encoder.domain.text import normal_form, words

COLOUR_ATTRIBUTES = ("colour", "color")
_MAX_WORD = 32


@dataclass
class LexiconUpdate:
    """What a batch of products adds. Brands, colours and categories by their normal form."""

    words: Counter[str] = field(default_factory=Counter)
    brands: dict[str, str] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


@dataclass
class Lexicon:
    """Words with the number of titles that held them; names by normal form, as the shop writes them."""

    words: dict[str, int] = field(default_factory=dict)
    brands: dict[str, str] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    # Leaf name -> whole path: "running shoes" -> "Shoes > Running Shoes".
    categories: dict[str, str] = field(default_factory=dict)
    # Grows with every change; what is derived from the lexicon is made anew when it differs.
    version: int = 0

    def add(self, update: LexiconUpdate, version: int) -> None:
        for word, count in update.words.items():
            self.words[word] = self.words.get(word, 0) + count
        for mine, new in (
            (self.brands, update.brands),
            (self.colours, update.colours),
            (self.categories, update.categories),
        ):
            mine.update(new)
        self.version = version


def learn(products: Iterable[Product]) -> LexiconUpdate:
    """The words of titles and brands, and the names of brands, colours and categories."""
    update = LexiconUpdate()
    for product in products:
        texts = [product.title, product.brand, *product.category_path, *product.localized_titles.values()]
        seen = {word for text in texts for word in words(normal_form(text))}
        update.words.update(word for word in seen if len(word) <= _MAX_WORD)
        update.brands.update(_by_normal_form([product.brand]))
        for name in COLOUR_ATTRIBUTES:
            update.colours.update(_by_normal_form(product.attributes.get(name, ())))
        for path in category_ancestry(product.category_path):
            update.categories[normal_form(path.rsplit(CATEGORY_SEPARATOR, 1)[-1])] = path
    return update


def _by_normal_form(values: Iterable[str]) -> Mapping[str, str]:
    return {normal: value for value in values if (normal := normal_form(value))}
