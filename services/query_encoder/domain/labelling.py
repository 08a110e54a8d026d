"""Chooses the queries whose labels help most: the network is uncertain, the query is frequent, and it is not similar to
a query that was chosen already.

The score of a query is its uncertainty (the margin between the two most probable labels: Scheffer, Decomain & Wrobel,
IDA 2001), times its frequency, times its distance to the queries chosen before. Queries are chosen one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_network import CATEGORY, INTENT, SENTIMENT

# Heads that a person is asked about. Not tags: dictionaries find most of them, and a missing value belongs into one.
ASKED = (INTENT, CATEGORY, SENTIMENT)
NO_CATEGORY = "none"


@dataclass(frozen=True)
class Question:
    """One head of one query to which no rule applies. `features`: see Understander.features."""

    query: str
    head: str
    guess: str
    confidence: float
    second: str
    second_confidence: float
    # How often the query was sent.
    count: int
    features: FloatArray

    @property
    def uncertainty(self) -> float:
        """0 (certain) to 1 (the two most probable labels are equally probable)."""
        return 1.0 - (self.confidence - self.second_confidence)


@dataclass(frozen=True)
class Choice:
    """A chosen question. `similarity`: cosine to the most similar question chosen before, 0 for the first one."""

    question: Question
    score: float
    similarity: float


def questions(
    understander: Understander,
    reading: QueryReading,
    vector: FloatArray | None,
    count: int,
    heads: Sequence[str] = ASKED,
) -> list[Question]:
    """The questions of one query, which was sent `count` times: one for each head to which no rule applies."""
    probabilities = understander.probabilities(reading, vector)
    features = understander.features(reading, vector)
    by_rule = {
        INTENT: understander.rules.intent(reading),
        CATEGORY: understander.category_by_rule(reading),
        SENTIMENT: understander.rules.sentiment(reading.normal),
    }
    found = []
    for head in heads:
        if not by_rule[head]:
            labels: Sequence[str] = getattr(understander.labels, head)
            first, second = np.argsort(-probabilities[head])[:2].tolist()
            probable = [
                (labels[column] or NO_CATEGORY, float(probabilities[head][column])) for column in (first, second)
            ]
            found.append(Question(reading.normal, head, *probable[0], *probable[1], count, features))
    return found


def most_helpful(
    asked: Sequence[Question], count: int, known: Mapping[str, Sequence[FloatArray]] | None = None
) -> list[Choice]:
    """The `count` best questions, best first. `known`: by head, features of queries that were labelled before."""
    chosen: list[Choice] = []
    if not asked:
        return chosen
    features = np.stack([question.features for question in asked])
    worth = np.array([question.uncertainty * np.log2(1 + question.count) for question in asked])
    heads = np.array([question.head for question in asked])
    similarity = np.zeros(len(asked))
    for head, rows in (known or {}).items():
        if len(rows):
            similarity = np.where(
                heads == head, np.maximum(similarity, (features @ np.stack(rows).T).max(1)), similarity
            )
    open_ = np.ones(len(asked), bool)
    for _ in range(min(count, len(asked))):
        scores = np.where(open_, worth * (1 - similarity), -1.0)
        best = int(scores.argmax())
        chosen.append(Choice(asked[best], float(scores[best]), float(similarity[best])))
        open_[best] = False
        near = np.clip(features @ features[best], 0.0, 1.0)
        similarity = np.where(heads == heads[best], np.maximum(similarity, near), similarity)
    return chosen
