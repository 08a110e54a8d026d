"""Queries generated from the titles of a catalogue."""

from __future__ import annotations

import pytest

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from training.search.data import NOT_WRONG
from training.search.title_queries import title_judgements


def product(id: str, title: str, brand: str = "", *category: str) -> Product:
    return Product(id=id, title=title, brand=brand, category_path=category)


SHOP = [
    product(str(number), f"Steel {thing} with {colour} handle no{number}", "Acme", "Kitchen", "Tools")
    for number, (thing, colour) in enumerate((t, c) for t in ("spoon", "ladle", "whisk") for c in ("red", "blue"))
]


@pytest.mark.parametrize("seed", range(5))
def test_a_query_has_words_of_its_product(seed: int) -> None:
    """At least two words of the product's text; exactly the products with all of its words are judged."""
    texts = {p.id: set(product_text(p).lower().split()) for p in SHOP}
    made = title_judgements(SHOP, seed)
    assert made
    for query, judged in made.items():
        words = set(query.split())
        assert len(words) >= 2
        assert judged.keys() == {id for id, text in texts.items() if words <= text}
        assert 3.0 in judged.values()
        assert set(judged.values()) <= {3.0, NOT_WRONG}


def test_words_are_drawn_in_many_ways() -> None:
    """Some queries have another order than the title, and some a word of brand or category."""
    queries = [query.split() for seed in range(20) for query in title_judgements(SHOP[:1], seed)]
    title = SHOP[0].title.lower().split()
    orders = [[title.index(word) for word in query if word in title] for query in queries]
    assert any(order != sorted(order) for order in orders)
    assert any({"acme", "kitchen", "tools"} & set(query) for query in queries)


def test_vague_words_make_no_query() -> None:
    """No query is generated if more than twenty products have all of its words."""
    assert title_judgements([product(str(n), "Red mug") for n in range(30)], 0) == {}


def test_the_same_seed_makes_the_same() -> None:
    """At most the requested number of queries, equal for equal seeds."""
    assert len(title_judgements(SHOP, 1, most=3)) <= 3
    assert title_judgements(SHOP, 1) == title_judgements(SHOP, 1)
    assert title_judgements(SHOP, 1) != title_judgements(SHOP, 2)
