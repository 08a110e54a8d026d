"""Queries made from a catalogue alone."""

from __future__ import annotations

import pytest

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from training.search.data import NOT_WRONG
from training.search.self_supervised import made_judgements


def product(id: str, title: str, brand: str = "", *category: str) -> Product:
    return Product(id=id, title=title, brand=brand, category_path=category)


SHOP = [
    product(str(number), f"Steel {thing} with {colour} handle no{number}", "Acme", "Kitchen", "Tools")
    for number, (thing, colour) in enumerate((t, c) for t in ("spoon", "ladle", "whisk") for c in ("red", "blue"))
]


@pytest.mark.parametrize("seed", range(5))
def test_a_query_is_made_of_its_product(seed: int) -> None:
    """Two words or more of the product's text; whoever else holds them all is not wrong, and nobody else is named."""
    texts = {p.id: set(product_text(p).lower().split()) for p in SHOP}
    made = made_judgements(SHOP, seed)
    assert made
    for query, judged in made.items():
        words = set(query.split())
        assert len(words) >= 2
        assert judged.keys() == {id for id, text in texts.items() if words <= text}
        assert 3.0 in judged.values()
        assert set(judged.values()) <= {3.0, NOT_WRONG}


def test_words_are_drawn_in_many_ways() -> None:
    """Over seeds: another order than the title's, and words of brand or category."""
    queries = [query.split() for seed in range(20) for query in made_judgements(SHOP[:1], seed)]
    title = SHOP[0].title.lower().split()
    orders = [[title.index(word) for word in query if word in title] for query in queries]
    assert any(order != sorted(order) for order in orders)
    assert any({"acme", "kitchen", "tools"} & set(query) for query in queries)


def test_vague_words_make_no_query() -> None:
    """Products that all have the same words make none: no answer would be better than another."""
    assert made_judgements([product(str(n), "Red mug") for n in range(30)], 0) == {}


def test_the_same_seed_makes_the_same() -> None:
    """At most as many as asked for, the same ones for a seed and others for another."""
    assert len(made_judgements(SHOP, 1, most=3)) <= 3
    assert made_judgements(SHOP, 1) == made_judgements(SHOP, 1)
    assert made_judgements(SHOP, 1) != made_judgements(SHOP, 2)
