"""Kinds of products that go with given products: the edges `goes_with` of the concept graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind
from services.query_encoder.domain.text import normal_form


class Companions:
    """Built once for a concept graph."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._graph, self._finder = graph, ConceptFinder(graph)

    def of(self, texts: Sequence[str], limit: int) -> list[Concept]:
        """Those of most texts first, at most `limit`. A kind that a text names is what the shopper has already."""
        found: Counter[str] = Counter()
        named = set[str]()
        for text in texts:
            products = [
                concept
                for mention in self._finder.read(normal_form(text)).mentions
                for concept in mention.concepts
                if concept.kind is ConceptKind.PRODUCT
            ]
            named.update(name for product in products for name in self._lineage(product))
            # Each text counts once for a companion.
            found.update({name: 1 for product in products for name in self._companions(product)})
        return [self._graph.concepts[name] for name, _ in found.most_common() if name not in named][:limit]

    def _companions(self, product: Concept) -> Iterator[str]:
        for name in self._lineage(product):
            yield from self._graph.concepts[name].goes_with

    def _lineage(self, product: Concept) -> list[str]:
        """The concept and what it is a kind of, the nearest first."""
        lineage = [product.name]
        for name in lineage:
            lineage.extend(parent for parent in self._graph.concepts[name].is_a if parent not in lineage)
        return lineage


def labels_of(concept: Concept) -> list[str]:
    """The English and the Chinese name first, then all other labels."""
    return list(dict.fromkeys([*concept.english[:1], *concept.chinese[:1], *concept.english, *concept.chinese]))


def name_of(concept: Concept) -> str:
    """What the concept is called in a text to encode."""
    return labels_of(concept)[0] if concept.english or concept.chinese else concept.name
