"""Links from a query's words over concepts to a product's words."""

from __future__ import annotations

import pytest

from services.gateway.domain.concept_edges import Edge, edges

TRAINERS = ("trainers", "running-shoes", ["running shoes", "sneakers"])


def test_only_what_the_product_says() -> None:
    """The expansions of a concept that the product's text holds are edges, in the order of the concept."""
    found = edges([TRAINERS], "Light Running Shoe · Women")
    assert found == [Edge("trainers", "running-shoes", "running shoes")]
    assert edges([TRAINERS], "Desk lamp") == []


@pytest.mark.parametrize(
    ("expansion", "text", "holds"),
    [
        ("shoes", "A shoe", True),
        ("shoe", "Two Shoes", True),
        ("box", "Three boxes", True),
        ("hat", "What a chat", False),
        ("跑步鞋", "女士跑步鞋", True),
        ("跑步鞋", "女士鞋", False),
        ("", "anything", False),
    ],
)
def test_whole_words(expansion: str, text: str, holds: bool) -> None:
    """English by whole words in singular or plural, Chinese by its characters."""
    assert bool(edges([("q", "c", [expansion])], text)) is holds


def test_each_edge_once() -> None:
    """A concept that is named twice gives one edge."""
    assert len(edges([TRAINERS, TRAINERS], "sneakers")) == 1
