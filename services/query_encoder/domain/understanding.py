"""Classifies a query: intent, category, attributes, sentiment. A rule that applies decides, otherwise the network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.common.product import CATEGORY_SEPARATOR
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, english_key
from services.query_encoder.domain.constraints import ConstraintType
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding_network import (
    CATEGORY,
    INTENT,
    SENTIMENT,
    TAGS,
    Labels,
    UnderstandingNetwork,
    hashed_grams,
    sigmoid,
    softmax,
)
from services.query_encoder.domain.understanding_rules import (
    CHAT,
    ORDER,
    IntentRules,
    head_words,
)

# A less probable category is not reported; a category above it may be.
MIN_CATEGORY = 0.5
# A less probable attribute is not reported.
MIN_TAG = 0.8
# Words of an attribute value that is looked for in the query.
_LONGEST_VALUE = 4
_KINDS = (ConceptKind.MATERIAL, ConceptKind.AUDIENCE)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Source(Enum):
    RULE = "rule"
    MODEL = "model"


@dataclass(frozen=True)
class Guess:
    """`confidence` is 1 for a rule. For the network it is the calibrated probability."""

    value: str
    confidence: float
    source: Source


@dataclass(frozen=True)
class Tag:
    """An attribute of what is looked for, in the shop's words. `matched_text` is empty if the network reports it."""

    name: str
    value: str
    matched_text: str
    confidence: float
    source: Source


@dataclass(frozen=True)
class Understanding:
    """`category` is None if the query has none, or none that is probable enough."""

    intent: Guess
    category: Guess | None
    sentiment: Guess
    tags: tuple[Tag, ...]


class Understander:
    """Classifies queries with the network of one shop and with rules."""

    def __init__(
        self,
        network: UnderstandingNetwork,
        labels: Labels,
        graph: ConceptGraph,
        rules: IntentRules,
        model_version: str = "untrained",
    ) -> None:
        self._network, self.labels, self.model_version = network, labels, model_version
        self._graph, self.rules = graph, rules
        self._slices = labels.slices()
        self._leaves = {normal_form(_leaf(path)): path for path in labels.category if path}
        self._by_key = _unambiguous((english_key(_leaf(path)), path) for path in labels.category if path)
        self._values = _unambiguous((english_key(value), (name, value)) for name, value in labels.tags)
        # By a category that has categories below it: the columns of those.
        self._above: dict[str, list[int]] = {}
        for column, path in enumerate(labels.category):
            parts = path.split(CATEGORY_SEPARATOR)
            for level in range(1, len(parts)):
                self._above.setdefault(CATEGORY_SEPARATOR.join(parts[:level]), []).append(column)

    def understand(self, reading: QueryReading, vector: FloatArray | None, lexicon: Lexicon) -> Understanding:
        """`vector` is that of the text without a context, shape [dimensions]; None if the encoder does not know the
        text.

        A category that is not in `lexicon` is not reported: the network may be that of another shop.
        """
        probabilities = self.probabilities(reading, vector)
        intent = _best(self.rules.intent(reading), self.labels.intent, probabilities[INTENT])
        sentiment = _best(self.rules.sentiment(reading.normal), self.labels.sentiment, probabilities[SENTIMENT])
        category = self._category(reading, probabilities[CATEGORY])
        # A question about an order, or chat, looks for no product: only a category named in the text is reported.
        is_no_search = intent.value in (ORDER, CHAT) and category is not None and category.source is Source.MODEL
        if category is not None and (is_no_search or normal_form(_leaf(category.value)) not in lexicon.categories):
            category = None
        return Understanding(intent, category, sentiment, tuple(self._tags(reading, probabilities[TAGS])))

    def probabilities(self, reading: QueryReading, vector: FloatArray | None) -> Mapping[str, FloatArray]:
        """By head, from the network without rules. The probabilities of tags are independent of each other."""
        logits = self._network.logits(vector, hashed_grams(reading.normal))
        return {
            head: (sigmoid if head == TAGS else softmax)(logits[part], self.labels.temperatures.get(head, 1.0))
            for head, part in self._slices.items()
        }

    def features(self, reading: QueryReading, vector: FloatArray | None) -> FloatArray:
        """The hidden layer scaled to length 1, shape [h]: similar for queries of similar meaning."""
        return unit_rows(self._network.hidden(vector, hashed_grams(reading.normal)))

    def category_by_rule(self, reading: QueryReading) -> str:
        """The shop's category that the last words of the product name; empty if they name none."""
        key = english_key(head_words(reading.rendering or reading.retrieval_text))
        return next((self._by_key[key[at:]] for at in range(len(key)) if key[at:] in self._by_key), "")

    def tags_by_rule(self, reading: QueryReading) -> Iterator[Tag]:
        """Brands and attributes by the conditions, material and audience by the concepts, and values of the shop in the
        text.
        """
        seen: set[str] = set()
        for name, value, text in self._named(reading):
            if not any(text in other or other in text for other in seen):
                seen.add(text)
                yield Tag(name, value, text, 1.0, Source.RULE)

    def _named(self, reading: QueryReading) -> Iterator[tuple[str, str, str]]:
        for constraint in reading.constraints:
            if constraint.type is ConstraintType.BRAND:
                yield "brand", constraint.value, constraint.matched_text
            elif constraint.type is ConstraintType.ATTRIBUTE:
                yield constraint.attribute, constraint.value, constraint.matched_text
        for part in reading.mentions:
            concept = part.concepts[0]
            if concept.kind in _KINDS and (known := self._known(concept)):
                yield *known, part.text
        words = reading.retrieval_text.split()
        for size in range(min(_LONGEST_VALUE, len(words)), 0, -1):
            for at in range(len(words) - size + 1):
                text = " ".join(words[at : at + size])
                known = self._values.get(english_key(text))
                if known and len(text) > 2 and not text.isdigit():
                    yield *known, text
        for text, value in self.rules.values(reading.normal):
            if known := self._values.get(english_key(value)):
                yield *known, text

    def _known(self, concept: Concept) -> tuple[str, str] | None:
        """The shop's (attribute, value) for a concept, or for a concept that it is a kind of."""
        lineage = [concept, *(self._graph.concepts[parent] for parent in concept.is_a)]
        labels = (english_key(label) for one in lineage for label in one.english)
        return next((self._values[key] for key in labels if key in self._values), None)

    def _tags(self, reading: QueryReading, probabilities: FloatArray) -> Iterator[Tag]:
        """Tags of rules come first. The network adds only attributes that no rule has found."""
        found = list(self.tags_by_rule(reading))
        yield from found
        named = {tag.name for tag in found}
        for column in np.flatnonzero(probabilities >= MIN_TAG).tolist():
            name, value = self.labels.tags[column]
            if name not in named:
                yield Tag(name, value, "", float(probabilities[column]), Source.MODEL)

    def _category(self, reading: QueryReading, probabilities: FloatArray) -> Guess | None:
        """The leaf category if it is probable enough, otherwise the nearest category above that is."""
        if by_rule := self.category_by_rule(reading):
            return Guess(by_rule, 1.0, Source.RULE)
        best = int(probabilities.argmax())
        if probabilities[best] >= MIN_CATEGORY:
            value = self.labels.category[best]
            return Guess(value, float(probabilities[best]), Source.MODEL) if value else None
        sums = {path: float(probabilities[columns].sum()) for path, columns in self._above.items()}
        probable = [path for path, total in sums.items() if total >= MIN_CATEGORY]
        if not probable:
            return None
        value = max(probable, key=lambda path: (path.count(CATEGORY_SEPARATOR), sums[path]))
        return Guess(value, sums[value], Source.MODEL)


def _best(by_rule: str, labels: Iterable[str], probabilities: FloatArray) -> Guess:
    if by_rule:
        return Guess(by_rule, 1.0, Source.RULE)
    best = int(probabilities.argmax())
    return Guess(list(labels)[best], float(probabilities[best]), Source.MODEL)


def _leaf(path: str) -> str:
    return path.rsplit(CATEGORY_SEPARATOR, 1)[-1]


def _unambiguous(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, Value]:
    """Without keys that have two values, and without empty keys."""
    found: dict[Key, Value] = {}
    twice: set[Key] = set()
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            twice.add(key)
    return {key: value for key, value in found.items() if key and key not in twice}
