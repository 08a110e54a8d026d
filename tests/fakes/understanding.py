"""Query understanding whose network says what a test wants, whatever the query."""

from __future__ import annotations

import numpy as np

from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.bulk_reading import ReadQuery
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.text import normalise
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_network import BUCKETS, Labels, UnderstandingNetwork
from services.query_encoder.domain.understanding_rules import INTENTS, SENTIMENTS

CATEGORIES = ("", "Clothing > Dresses", "Clothing > Jeans", "Home > Mugs")
TAGS = (("audience", "men"), ("audience", "women"), ("material", "leather"), ("size", "42"))
LABELS = Labels(INTENTS, CATEGORIES, SENTIMENTS, TAGS, {})
LEXICON = Lexicon(
    words=dict.fromkeys(("red", "dress", "jeans", "mug", "leather", "acme"), 5),
    brands={"acme": "Acme"},
    categories={"clothing": "Clothing", "dresses": CATEGORIES[1], "jeans": CATEGORIES[2], "mugs": CATEGORIES[3]},
    values={"colour": {"red": "Red"}},
)
DOMAIN = embedded_domain()
_READER = QueryReader(DOMAIN, "USD")


def network(dimensions: int = 4, /, **probabilities: dict[str, float]) -> UnderstandingNetwork:
    """Of each named head, these labels have these probabilities; a head that is not named likes all labels alike."""
    columns = LABELS.slices()
    bias = np.zeros(columns["tags"].stop, np.float32)
    bias[columns["tags"]] = -10.0
    for head, wanted in probabilities.items():
        labels = list(getattr(LABELS, head))
        for label, probability in wanted.items():
            odds = probability if head != "tags" else probability / (1 - probability)
            column = labels.index(tuple(label.split("=")) if head == "tags" else label)
            bias[columns[head].start + column] = np.log(odds)
        if head != "tags":
            rest = [column for column, label in enumerate(labels) if label not in wanted]
            left = max(1 - sum(wanted.values()), 1e-6) / max(len(rest), 1)
            bias[[columns[head].start + column for column in rest]] = np.log(left)
    hidden = 3
    return UnderstandingNetwork(
        np.zeros((dimensions, hidden), np.float32), np.zeros((BUCKETS, hidden), np.float32),
        np.zeros(hidden, np.float32), np.zeros((hidden, len(bias)), np.float32), bias,
    )  # fmt: skip


def understander(**probabilities: dict[str, float]) -> Understander:
    return Understander(network(**probabilities), LABELS, DOMAIN.graph, DOMAIN.rules)


def read(text: str, lexicon: Lexicon = LEXICON) -> QueryReading:
    corrector = SpellCorrector(lexicon.words, lexicon.phrases)
    return _READER.read(normalise(text), lexicon, corrector, Expander(DOMAIN.graph, shop_words(lexicon.words)))


def read_query(text: str) -> ReadQuery:
    return ReadQuery(read(text), None)
