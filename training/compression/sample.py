"""The data of compression: a sample of the shop, the same for the same seed.

Quality is measured on judged queries or, in a shop without judgements, on queries generated from titles
(`training.search.title_queries`). Importance scores and recovery always use queries generated from titles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from training.search.data import Judgements, Pair, relevant_pairs
from training.search.title_queries import MOST_QUERIES, title_judgements


@dataclass(frozen=True)
class Sample:
    """`products` to search in, `judgements` to measure with, `pairs` for importance scores and recovery."""

    products: list[Product]
    judgements: Judgements
    pairs: list[Pair]

    @property
    def texts(self) -> list[str]:
        return [product_text(product) for product in self.products]


def draw(
    products: Sequence[Product], judgements: Judgements | None, queries: int, size: int, pairs: int, seed: int
) -> Sample:
    """At most `queries` queries over `size` products (0: no bound); judged products are always among them.

    `pairs` bounds the products that training queries are generated from. Raises ValueError if no query is left.
    """
    random = np.random.default_rng(seed)
    by_id = {product.id: product for product in products}
    if judgements is None:
        # Different products measure and train.
        order = [products[row] for row in random.permutation(len(products))]
        half = len(order) // 2
        judged = dict(title_judgements(order[:half], seed, queries or MOST_QUERIES))
        for_training = order[half:]
    else:
        judged = _restricted(judgements, by_id)
        chosen = random.permutation(len(judged))[: queries or None]
        judged = {query: judged[query] for query in [list(judged)[row] for row in chosen]}
        for_training = list(products)
    if not judged:
        raise ValueError("no query to measure with: no judged product is in the catalogue, or no title has two words")
    searched = {product_id: by_id[product_id] for ids in judged.values() for product_id in ids}
    others = [product for product in products if product.id not in searched]
    room = max(0, size - len(searched)) if size else len(others)
    searched |= {others[row].id: others[row] for row in random.permutation(len(others))[:room]}
    texts = {product.id: product_text(product) for product in for_training}
    return Sample(list(searched.values()), judged, relevant_pairs(title_judgements(for_training, seed, pairs), texts))


def _restricted(judgements: Judgements, by_id: Mapping[str, Product]) -> dict[str, Mapping[str, float]]:
    """Without products that are not in the catalogue, and without queries that then have no answer."""
    kept = {query: {i: r for i, r in judged.items() if i in by_id} for query, judged in judgements.items()}
    return {query: judged for query, judged in kept.items() if any(r > 1 for r in judged.values())}
