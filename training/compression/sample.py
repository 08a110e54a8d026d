"""The data of compression: a sample of the shop, the same for the same seed.

All queries are generated from titles (`training.search.title_queries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from training.search.data import Judgements, Pair, relevant_pairs
from training.search.title_queries import title_judgements


@dataclass(frozen=True)
class Sample:
    """`products` to search in, `judgements` to measure with, `pairs` for importance scores and recovery."""

    products: list[Product]
    judgements: Judgements
    pairs: list[Pair]


def draw(products: Sequence[Product], queries: int, size: int, pairs: int, seed: int) -> Sample:
    """At most `queries` queries over `size` products (0: no bound); judged products are always among them.

    Different products measure and train: half of them each, of the latter at most `pairs`.
    """
    random = np.random.default_rng(seed)
    by_id = {product.id: product for product in products}
    order = [products[row] for row in random.permutation(len(products))]
    half = len(order) // 2
    judged = dict(title_judgements(order[:half], seed, queries))
    for_training = order[half:]
    searched = {product_id: by_id[product_id] for ids in judged.values() for product_id in ids}
    others = [product for product in products if product.id not in searched]
    room = max(0, size - len(searched)) if size else len(others)
    searched |= {others[row].id: others[row] for row in random.permutation(len(others))[:room]}
    texts = {product.id: product_text(product) for product in for_training}
    return Sample(list(searched.values()), judged, relevant_pairs(title_judgements(for_training, seed, pairs), texts))
