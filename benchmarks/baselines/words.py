"""Text similarity of items to a history, which also scores items without interactions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.baselines.data import IntArray, ItemText
from benchmarks.baselines.evaluation import FloatArray, Scorer
from benchmarks.baselines.neighbours import fading


def scorer(texts: Sequence[ItemText], history_decay: float = 0.7, power: int = 4) -> Scorer:
    """Cosines of tf-idf vectors (words, brand, categories), summed over the history and raised to `power`.

    The weight of an interaction is `history_decay` times that of the next one.
    """
    own = _vectors(texts)
    by_item = own.T.tocsr()

    def score(histories: Sequence[IntArray]) -> FloatArray:
        words = fading(histories, len(texts), history_decay) @ own
        return np.asarray((words @ by_item).todense(), np.float32) ** power

    return score


def _vectors(texts: Sequence[ItemText]) -> sp.csr_matrix:
    """[items, words], unit rows; a zero row for an item without text. Model numbers and sizes are words too."""
    joined = [f"{text.keywords} {text.brand} {text.categories}" for text in texts]
    if not any(map(str.strip, joined)):
        return sp.csr_matrix((len(texts), 1), dtype=np.float32)
    return TfidfVectorizer(dtype=np.float32, token_pattern=r"[^\s|]+").fit_transform(joined).tocsr()
