"""Items whose words are like those of a history: what a catalogue knows of items that nobody has taken yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from training.sequence.data import IntArray, ItemText
from training.sequence.evaluation import FloatArray, Scorer
from training.sequence.neighbours import fading

# A high power: only what is very like counts.
_HISTORY_DECAY, _POWER = 0.7, 4


def scorer(texts: Sequence[ItemText]) -> Scorer:
    """Cosines of tf-idf vectors (words, brand, categories), summed over the history with late acts first, sharpened."""
    told = [f"{text.keywords} {text.brand} {text.categories}" for text in texts]
    if not any(map(str.strip, told)):
        return lambda histories: np.zeros((len(histories), len(texts)), np.float32)
    # Any run of characters is a word: model numbers are, and sizes.
    vectors = TfidfVectorizer(dtype=np.float32, token_pattern=r"[^\s|]+").fit_transform(told)
    by_item = vectors.T.tocsr()

    def score(histories: Sequence[IntArray]) -> FloatArray:
        words = fading(histories, len(texts), _HISTORY_DECAY) @ vectors
        return np.asarray((words @ by_item).todense(), np.float32) ** _POWER

    return score
