"""Kinds of products that go with given products, by the concept graph."""

from __future__ import annotations

import pytest

from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.companions import Companions, labels_of
from services.query_encoder.domain.concepts import ConceptGraph

GRAPH = ConceptGraph.read(
    {
        "products": {
            "phone": {
                "labels": ["手机", "smartphone"],
                "goes_with": ["phone case", "charger"],
                "kinds": {"flip phone": []},
            },
            "phone case": ["手机壳"],
            "charger": {"labels": [], "goes_with": ["cable"]},
            "cable": [],
        },
        "occasions": {"travel": {"labels": [], "goes_with": ["charger"]}},
    }
)


def names(*texts: str, limit: int = 8) -> list[str]:
    return [concept.name for concept in Companions(GRAPH).of(texts, limit)]


def test_companions_follow_the_edges() -> None:
    """A title leads over its concept, or over what the concept is a kind of, to the companions."""
    assert names("Galaxy smartphone, 128 GB") == ["phone case", "charger"]
    assert names("Flip phone for seniors") == ["phone case", "charger"]
    assert names("智能手机") == ["phone case", "charger"]


def test_what_the_shopper_has_is_no_companion() -> None:
    """A kind that a text names itself is left out: a phone case does not need a phone case."""
    assert "phone case" not in names("Phone case for your smartphone")
    assert names("smartphone", "charger") == ["phone case", "cable"]


def test_the_most_frequent_come_first() -> None:
    """A companion of two texts is above one of a single text; the limit cuts the rest."""
    assert names("charger", "smartphone", "flip phone", limit=1) == ["phone case"]
    assert names("something else") == names("travel bag") == []


def test_labels_begin_with_the_names() -> None:
    """The English name is first, then the Chinese one."""
    assert labels_of(GRAPH.concepts["phone"])[:2] == ["phone", "手机"]


@pytest.mark.parametrize(
    ("title", "companion"), [("Trail running shoes", "socks"), ("Two-person tent", "sleeping bag")]
)
def test_the_embedded_graph(title: str, companion: str) -> None:
    """The graph that comes with Kairos has companions for common products."""
    assert companion in [concept.name for concept in Companions(embedded_domain().graph).of([title], 8)]
