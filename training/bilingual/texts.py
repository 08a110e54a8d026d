"""Training texts of the student: Chinese or code-mixed texts with their English translations.

labels     each Chinese label of the concept graph, with the graph's English label
queries    composed of the graph's concepts: audience, colour, material, brand, attribute, product, occasion
catalogue  titles that the shop has in both languages
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from services.common.product import Product
from services.common.scripts import has_han
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, chinese_key
from services.query_encoder.domain.expansion import MAX_MEANINGS
from services.query_encoder.domain.text import CHINESE, normal_form
from services.query_encoder.domain.traditional_chinese import traditional_forms

# Modifiers in the order of an English noun phrase; the occasion follows the product.
_MODIFIERS = (ConceptKind.AUDIENCE, ConceptKind.BRAND, ConceptKind.COLOUR, ConceptKind.MATERIAL, ConceptKind.ATTRIBUTE)
# Probabilities: of each modifier, of an occasion, of the product in the first position, as in "牛仔裤 男 黑色".
_MODIFIED, _OCCASION, _PRODUCT_FIRST = 0.28, 0.12, 0.15
# Probabilities: that a word of a Chinese query is English, and that the query has a filler word.
_MIXED, _FILLED = 0.1, 0.25
# Probability that a text is in traditional characters.
_TRADITIONAL = 0.12
# Between two Chinese words; mostly nothing.
_JOINTS = ("", "", "", " ", "的")


@dataclass(frozen=True)
class Translation:
    """`chinese` may contain English words; `english` is the teacher's input."""

    chinese: str
    english: str


class HeldOut:
    """Test texts, which are not trained on: compared without spaces and in simplified characters."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._keys = frozenset(map(chinese_key, texts))

    def __contains__(self, text: str) -> bool:
        return chinese_key(text) in self._keys


def label_translations(graph: ConceptGraph) -> list[Translation]:
    """One for each Chinese label; a label of several concepts has the English labels of all."""
    pairs = (Translation(label, _english(graph.by_chinese[chinese_key(label)])) for label in labels_of(graph))
    return [pair for pair in pairs if pair.english]


def catalogue_translations(products: Iterable[Product]) -> list[Translation]:
    """The titles of products with a title in each language, without repetitions."""
    found: dict[Translation, None] = {}
    for product in products:
        texts = {has_han(text): text for text in (product.title, *product.localized_titles.values()) if text}
        if chinese := product.localized_titles.get(CHINESE, texts.get(True, "")):
            found[Translation(normal_form(chinese), texts.get(False, ""))] = None
    return [pair for pair in found if pair.chinese and pair.english]


class QueryWriter:
    """Composes random queries from the concept graph."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._fillers = sorted(graph.fillers)
        self._graph = graph
        self._by_kind: dict[ConceptKind, list[Concept]] = {kind: [] for kind in ConceptKind}
        for concept in graph.concepts.values():
            if concept.chinese and concept.english:
                self._by_kind[concept.kind].append(concept)
        if not self._by_kind[ConceptKind.PRODUCT]:
            raise ValueError("the concept graph names no product in both languages; there is nothing to train on")

    def write(self, random: np.random.Generator) -> Translation:
        modifiers = [
            self._label(kind, random) for kind in _MODIFIERS if random.random() < _MODIFIED and self._by_kind[kind]
        ]
        product = self._label(ConceptKind.PRODUCT, random)
        occasions = self._by_kind[ConceptKind.OCCASION] if random.random() < _OCCASION else []
        occasion = self._label(ConceptKind.OCCASION, random) if occasions else None
        english = [pair.english for pair in (*modifiers, product)]
        english += ["for", occasion.english] if occasion else []
        random.shuffle(modifiers)
        chinese = [pair.chinese for pair in ([occasion] if occasion else []) + modifiers]
        chinese = [product.chinese, *chinese] if random.random() < _PRODUCT_FIRST else [*chinese, product.chinese]
        if self._fillers and random.random() < _FILLED:
            chinese.insert(int(random.integers(len(chinese) + 1)), _one(self._fillers, random))
        return Translation(_joined(chinese, random), " ".join(english))

    def _label(self, kind: ConceptKind, random: np.random.Generator) -> Translation:
        concept: Concept = _one(self._by_kind[kind], random)
        label: str = _one(concept.chinese, random)
        english = _english(self._graph.by_chinese[chinese_key(label)])
        return Translation(concept.english[0] if random.random() < _MIXED else label, english)


def varied(chinese: str, random: np.random.Generator) -> str:
    """The text, sometimes in traditional characters."""
    if random.random() >= _TRADITIONAL:
        return chinese
    return "".join(_one(_forms(character) or character, random) for character in chinese)


def with_traditional(texts: Iterable[str]) -> set[str]:
    """The characters of `texts` and their traditional forms."""
    characters = set().union(*texts)
    return characters.union(*map(_forms, characters))


_forms = lru_cache(maxsize=8_192)(traditional_forms)


def labels_of(graph: ConceptGraph) -> list[str]:
    """Every Chinese label, without repetitions."""
    return list(dict.fromkeys(label for concept in graph.concepts.values() for label in concept.chinese))


def _english(concepts: Sequence[Concept]) -> str:
    """The graph's rendering of a label: the first English label of each of its concepts."""
    return " ".join(dict.fromkeys(concept.english[0] for concept in concepts[:MAX_MEANINGS] if concept.english))


def _joined(parts: Sequence[str], random: np.random.Generator) -> str:
    """A space separates an English word from its neighbours."""
    text = parts[0]
    for part in parts[1:]:
        is_separate = not (has_han(text[-1]) and has_han(part[0]))
        text += (" " if is_separate else _one(_JOINTS, random)) + part
    return text


def _one(of: Sequence[Any], random: np.random.Generator) -> Any:
    return of[int(random.integers(len(of)))]
