"""What words of a query name: a product of the shop, a brand, a value; and whether two of them are of the same kind."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise, product

import rjieba

from services.common.noun_phrases import singular
from services.common.scripts import has_han
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, chinese_key, english_key
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.name_evidence import is_brand

# A word names a product if so many products, and so large a share of the titles with it, are of this type.
_TYPE_PRODUCTS, _TYPE_SHARE = 2, 0.2

# Characters of the longest Chinese label that is looked for.
_LONGEST_CHINESE = 6


class WordKinds:
    """What the concept graph and the words of a shop know about words, all in their normal form."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._graph = graph

    def is_product(self, label: str, lexicon: Lexicon) -> bool:
        """Whether it names a product: one that the graph has, or a type of the shop's products."""
        return ConceptKind.PRODUCT in self.concept_kinds(label) or _is_type(label, lexicon)

    def is_named(self, label: str, lexicon: Lexicon) -> bool:
        """Whether it is a concept, a brand, a category or a value."""
        return bool(self.concept_kinds(label)) or is_of_shop(label, lexicon)

    def has_product(self, words: Sequence[str], lexicon: Lexicon) -> bool:
        """Whether one or two neighbours among `words` name a product, a brand, a category or a value."""
        return self.has_known_product(words, lexicon) or any(_is_type(word, lexicon) for word in words)

    def has_known_product(self, words: Sequence[str], lexicon: Lexicon) -> bool:
        """As `has_product`, without the types that titles show: of "Friends Without Benefits" these are friends."""
        labels = (*words, *map(" ".join, pairwise(words)))
        return any(ConceptKind.PRODUCT in self.concept_kinds(one) or is_of_shop(one, lexicon) for one in labels)

    def concept_kinds(self, label: str) -> set[ConceptKind]:
        return {concept.kind for concept in self._concepts(label)}

    def are_alike(self, labels: Sequence[str], lexicon: Lexicon) -> bool:
        """Whether all of them are brands, categories, values of one attribute, products, concepts of one kind, measures
        in one unit, or what products are for: "mac or pc".
        """
        if set.intersection(*map(self.concept_kinds, labels)) - {ConceptKind.PRODUCT}:
            return True
        if all(self._is_sold(label, lexicon) for label in labels):
            return True
        if any(all(label in names for label in labels) for names in _namings(lexicon)):
            return True
        if all(f"for {label}" in lexicon.phrases for label in labels):
            return True
        units = {"".join(filter(str.isalpha, label)) for label in labels}
        return len(units) == 1 and all(any(map(str.isdigit, label)) for label in labels)

    def chinese_alternatives(self, left: str, right: str, lexicon: Lexicon) -> tuple[str, str] | None:
        """The longest end of `left` and beginning of `right` that are alike; concepts, or else their nearest words."""
        ends = [left[-size:] for size in range(min(_LONGEST_CHINESE, len(left)), 0, -1)]
        beginnings = [right[:size] for size in range(min(_LONGEST_CHINESE, len(right)), 0, -1)]
        before = [*filter(self._concepts, ends), rjieba.cut(left)[-1]]
        after = [*filter(self._concepts, beginnings), rjieba.cut(right)[0]]
        return next((pair for pair in product(before, after) if self.are_alike(pair, lexicon)), None)

    def length_before_product(self, text: str) -> int:
        """Characters at the beginning of a Chinese text before the first product: 2 of 香料护手霜. 0 without one."""
        for size in range(1, min(_LONGEST_CHINESE, len(text) - 1)):
            labels = (text[size : size + length] for length in range(2, _LONGEST_CHINESE + 1))
            if any(ConceptKind.PRODUCT in self.concept_kinds(label) for label in labels):
                return size
        return 0

    def _is_sold(self, label: str, lexicon: Lexicon) -> bool:
        """Whether it names a product that the shop has, as far as titles show types."""
        if not lexicon.types:
            return self.is_product(label, lexicon)
        products = (concept for concept in self._concepts(label) if concept.kind is ConceptKind.PRODUCT)
        labels = (english_key(name) for concept in products for name in concept.english)
        return _is_type(label, lexicon) or any(key[-1] in lexicon.types for key in labels if key)

    def _concepts(self, label: str) -> tuple[Concept, ...]:
        if has_han(label):
            return self._graph.by_chinese.get(chinese_key(label), ())
        return self._graph.by_english.get(english_key(label), ())


def is_of_shop(label: str, lexicon: Lexicon) -> bool:
    """Whether it is a category, a value, or a brand that is not an ordinary word as well."""
    if label in lexicon.brands:
        return is_brand(label, ("", ""), (), (), lexicon)
    return label in lexicon.names


def _is_type(label: str, lexicon: Lexicon) -> bool:
    one = singular(label)
    products = lexicon.types.get(one, 0)
    titles = sum(lexicon.words.get(word, 0) for word in {one, label, f"{one}s"})
    return products >= max(_TYPE_PRODUCTS, _TYPE_SHARE * titles)


def _namings(lexicon: Lexicon) -> tuple[Container[str], ...]:
    return lexicon.brands, lexicon.categories, *lexicon.values.values()
