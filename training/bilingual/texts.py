"""What the student reads: texts in Chinese, or partly in it, each with what it says in English.

labels     each Chinese label of the concept graph, with the graph's English for it
queries    put together from the graph: for whom, colour, material, brand, what it does, the thing, what for
catalogue  titles and categories that the shop has in both languages
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

# In the order in which English names them before a thing; what it is for stands behind it.
_BEFORE = (ConceptKind.AUDIENCE, ConceptKind.BRAND, ConceptKind.COLOUR, ConceptKind.MATERIAL, ConceptKind.ATTRIBUTE)
# How often a query names each of them, for whom or what for; how often a thing comes first, as "牛仔裤 男 黑色".
_NAMED, _FOR, _THING_FIRST = 0.28, 0.12, 0.15
# How often a word of a Chinese query is English, and how often words that mean nothing stand around it.
_MIXED, _FILLED = 0.1, 0.25
# How often a text is in traditional characters.
_TRADITIONAL = 0.12
# Between the words: mostly nothing.
_JOINTS = ("", "", "", " ", "的")


@dataclass(frozen=True)
class Pair:
    """`chinese` may hold English words too; `english` is what the teacher is asked."""

    chinese: str
    english: str


class HeldOut:
    """Texts that measure and therefore never teach: compared without spaces, in simplified characters."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._keys = frozenset(map(chinese_key, texts))

    def __contains__(self, text: str) -> bool:
        return chinese_key(text) in self._keys


def label_pairs(graph: ConceptGraph) -> list[Pair]:
    """A label of two concepts means both."""
    pairs = (Pair(label, _english(graph.by_chinese[chinese_key(label)])) for label in labels_of(graph))
    return [pair for pair in pairs if pair.english]


def catalogue_pairs(products: Iterable[Product]) -> list[Pair]:
    """Titles of products that have one in each language; each pair once."""
    found: dict[Pair, None] = {}
    for product in products:
        texts = {has_han(text): text for text in (product.title, *product.localized_titles.values()) if text}
        if chinese := product.localized_titles.get(CHINESE, texts.get(True, "")):
            found[Pair(normal_form(chinese), texts.get(False, ""))] = None
    return [pair for pair in found if pair.chinese and pair.english]


class QueryWriter:
    """Queries of the concept graph, as shoppers put them."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._fillers = sorted(graph.fillers)
        self._graph = graph
        self._by_kind: dict[ConceptKind, list[Concept]] = {kind: [] for kind in ConceptKind}
        for concept in graph.concepts.values():
            if concept.chinese and concept.english:
                self._by_kind[concept.kind].append(concept)
        if not self._by_kind[ConceptKind.PRODUCT]:
            raise ValueError("the concept graph names no product in both languages; there is nothing to learn from")

    def write(self, random: np.random.Generator) -> Pair:
        before = [self._said(kind, random) for kind in _BEFORE if random.random() < _NAMED and self._by_kind[kind]]
        thing = self._said(ConceptKind.PRODUCT, random)
        occasions = self._by_kind[ConceptKind.OCCASION] if random.random() < _FOR else []
        purpose = self._said(ConceptKind.OCCASION, random) if occasions else None
        english = [*(pair.english for pair in before), thing.english, *(["for", purpose.english] if purpose else [])]
        random.shuffle(before)
        chinese = [pair.chinese for pair in ([purpose] if purpose else []) + before]
        chinese = [thing.chinese, *chinese] if random.random() < _THING_FIRST else [*chinese, thing.chinese]
        if self._fillers and random.random() < _FILLED:
            chinese.insert(int(random.integers(len(chinese) + 1)), _one(self._fillers, random))
        return Pair(_joined(chinese, random), " ".join(english))

    def _said(self, kind: ConceptKind, random: np.random.Generator) -> Pair:
        concept: Concept = _one(self._by_kind[kind], random)
        label: str = _one(concept.chinese, random)
        english = _english(self._graph.by_chinese[chinese_key(label)])
        return Pair(concept.english[0] if random.random() < _MIXED else label, english)


def varied(chinese: str, random: np.random.Generator) -> str:
    """Now and then in traditional characters."""
    if random.random() >= _TRADITIONAL:
        return chinese
    return "".join(_one(_forms(character) or character, random) for character in chinese)


def with_traditional(texts: Iterable[str]) -> set[str]:
    """The characters of `texts`, and the traditional forms of them."""
    characters = set().union(*texts)
    return characters.union(*map(_forms, characters))


_forms = lru_cache(maxsize=8_192)(traditional_forms)


def labels_of(graph: ConceptGraph) -> list[str]:
    """Every Chinese label once."""
    return list(dict.fromkeys(label for concept in graph.concepts.values() for label in concept.chinese))


def _english(concepts: Sequence[Concept]) -> str:
    """As the graph renders a label: the first name of each of its concepts."""
    return " ".join(dict.fromkeys(concept.english[0] for concept in concepts[:MAX_MEANINGS] if concept.english))


def _joined(parts: Sequence[str], random: np.random.Generator) -> str:
    """An English word stands apart, as a Latin letter ends no Chinese word."""
    text = parts[0]
    for part in parts[1:]:
        apart = not (has_han(text[-1]) and has_han(part[0]))
        text += (" " if apart else _one(_JOINTS, random)) + part
    return text


def _one(of: Sequence[Any], random: np.random.Generator) -> Any:
    return of[int(random.integers(len(of)))]
