"""What compression is measured on and what it learns from: a sample of the shop, the same for the same seed.

Measured are judged queries or, in a shop without judgements, queries made from titles. What scores the parts of the
encoder and what it recovers with is made from titles in both cases: judgements only measure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.text import STOP_WORDS, normal_form, words
from training.search.data import Judgements

# A made query has 2 to 4 words of its title: as many as shoppers type.
_FEWEST, _MOST = 2, 4
_RIGHT = 3.0


@dataclass(frozen=True)
class SearchExample:
    """A query and the text of a product that answers it."""

    query: str
    text: str


@dataclass(frozen=True)
class Sample:
    """`products` to search in, `judgements` to measure with, `lessons` to learn from."""

    products: list[Product]
    judgements: Judgements
    lessons: list[SearchExample]

    @property
    def texts(self) -> list[str]:
        return [product_text(product) for product in self.products]


def draw(
    products: Sequence[Product], judgements: Judgements | None, queries: int, size: int, lessons: int, seed: int
) -> Sample:
    """`queries` and `size` (of the products) are bounds, 0 is none; judged products are always among them.

    Raises ValueError where nothing is left to measure with or to learn from.
    """
    random = np.random.default_rng(seed)
    by_id = {product.id: product for product in products}
    writer = TitleQueries(products)
    if judgements is None:
        # Products that measure do not teach.
        order = [products[row] for row in random.permutation(len(products))]
        half = order[: len(order) // 2][: queries or None]
        made = {writer.write(product, random): {product.id: _RIGHT} for product in half}
        judged: dict[str, Mapping[str, float]] = {query: right for query, right in made.items() if query}
        taught = order[len(order) // 2 :]
    else:
        judged = _restricted(judgements, by_id)
        chosen = random.permutation(len(judged))[: queries or None]
        judged = {query: judged[query] for query in [list(judged)[row] for row in chosen]}
        taught = list(products)
    if not judged:
        raise ValueError("no query to measure with: no judged product is in the catalogue, or no title has two words")
    searched = {product_id: by_id[product_id] for ids in judged.values() for product_id in ids}
    others = [product for product in products if product.id not in searched]
    room = max(0, size - len(searched)) if size else len(others)
    searched |= {others[row].id: others[row] for row in random.permutation(len(others))[:room]}
    teachers = (taught[row] for row in random.permutation(len(taught))[:lessons])
    examples = [SearchExample(writer.write(product, random), product_text(product)) for product in teachers]
    return Sample(list(searched.values()), judged, [example for example in examples if example.query])


class TitleQueries:
    """Queries made from titles: a few words, rare ones rather than frequent ones, in the title's order."""

    def __init__(self, products: Sequence[Product]) -> None:
        self._count = len(products)
        self._titles = Counter(word for product in products for word in set(_told(product)))

    def write(self, product: Product, random: np.random.Generator) -> str:
        """Empty where the title has fewer than two words."""
        told = list(dict.fromkeys(_told(product)))
        if len(told) < _FEWEST:
            return ""
        weights = np.array([np.log1p(self._count / self._titles[word]) for word in told])
        size = min(len(told), int(random.integers(_FEWEST, _MOST + 1)))
        rows = random.choice(len(told), size, replace=False, p=weights / weights.sum())
        return " ".join(told[row] for row in sorted(rows))


def _told(product: Product) -> list[str]:
    return [word for word in words(normal_form(product.title)) if word not in STOP_WORDS]


def _restricted(judgements: Judgements, by_id: Mapping[str, Product]) -> dict[str, Mapping[str, float]]:
    """Without products that the catalogue lacks, and without queries that nothing answers."""
    kept = {query: {i: r for i, r in judged.items() if i in by_id} for query, judged in judgements.items()}
    return {query: judged for query, judged in kept.items() if any(r > 1 for r in judged.values())}
