"""Which queries a person should label: where the network is unsure, what many ask, and none that is like another.

Uncertainty by the margin between the two likeliest answers (Scheffer, Decomain & Wrobel, IDA 2001), times frequency,
times distance to what was chosen before it, greedily: the ten spellings of one question are one question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_network import CATEGORY, INTENT, SENTIMENT, FloatArray
from services.query_encoder.domain.understanding_rules import intent_by_rule, sentiment_by_rule

# Tags are no question here: dictionaries find most of them, and a value that is missing belongs into one.
ASKED = (INTENT, CATEGORY, SENTIMENT)
NO_CATEGORY = "none"


@dataclass(frozen=True)
class Question:
    """One head of one query that no rule answers. `features` of length 1 are what the network sees."""

    query: str
    head: str
    guess: str
    confidence: float
    second: str
    second_confidence: float
    # How often it was sent.
    count: int
    features: FloatArray

    @property
    def uncertainty(self) -> float:
        """0 (sure) to 1 (two answers are alike)."""
        return 1.0 - (self.confidence - self.second_confidence)


@dataclass(frozen=True)
class Choice:
    """A question worth asking. `similarity` is the cosine to the nearest one chosen before, 0 for the first."""

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
    """Of one query, `count` times sent: one for each head that no rule is sure of."""
    probabilities = understander.probabilities(reading, vector)
    features = understander.features(reading, vector)
    sure = {
        INTENT: intent_by_rule(reading),
        CATEGORY: understander.category_by_rule(reading),
        SENTIMENT: sentiment_by_rule(reading.normal),
    }
    found = []
    for head in heads:
        if not sure[head]:
            labels: Sequence[str] = getattr(understander.labels, head)
            first, second = np.argsort(-probabilities[head])[:2].tolist()
            likely = [(labels[column] or NO_CATEGORY, float(probabilities[head][column])) for column in (first, second)]
            found.append(Question(reading.normal, head, *likely[0], *likely[1], count, features))
    return found


def most_helpful(
    asked: Sequence[Question], count: int, known: Mapping[str, Sequence[FloatArray]] | None = None
) -> list[Choice]:
    """The `count` best, best first. `known`: features of queries that were labelled before, by head."""
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
