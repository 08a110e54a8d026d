"""Item-to-item collaborative filtering with order and distance of the interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from benchmarks.baselines.data import IntArray
from benchmarks.baselines.evaluation import FloatArray, Scorer


@dataclass(frozen=True)
class NeighbourSettings:
    """A pair of items at distance k counts `distance_decay` ** (k − 1), and in reverse order `backward` times that.

    Counts are divided by both items' frequencies to the power of `frequency` (1/2 gives the cosine). The weight of an
    interaction of the history is `history_decay` times that of the next one.
    """

    distance_decay: float = 0.8
    backward: float = 0.5
    frequency: float = 0.3
    history_decay: float = 0.8


# The textbook form (Linden, Smith & York, IEEE Internet Computing 2003): the cosine of the items' users.
COSINE = NeighbourSettings(distance_decay=1.0, backward=1.0, frequency=0.5, history_decay=1.0)


def neighbours(sequences: Sequence[IntArray], item_count: int, settings: NeighbourSettings) -> sp.csr_matrix:
    """[items, items]: weight from an item of the history (row) to a candidate (column)."""
    rows, columns, values = [], [], []
    for sequence in sequences:
        earlier, later = np.triu_indices(len(sequence), 1)
        rows.append(sequence[earlier])
        columns.append(sequence[later])
        values.append(settings.distance_decay ** (later - earlier - 1.0))
    forward = sp.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(item_count, item_count), dtype=np.float32,
    )  # fmt: skip
    counts = np.bincount(np.concatenate(sequences), minlength=item_count)
    scale = sp.diags_array((np.maximum(counts, 1.0) ** -settings.frequency).astype(np.float32))
    return sp.csr_matrix(scale @ (forward + settings.backward * forward.T) @ scale)


def scorer(matrix: sp.csr_matrix, settings: NeighbourSettings) -> Scorer:
    def score(histories: Sequence[IntArray]) -> FloatArray:
        return np.asarray((fading(histories, matrix.shape[0], settings.history_decay) @ matrix).todense(), np.float32)

    return score


def fading(histories: Sequence[IntArray], item_count: int, decay: float) -> sp.csr_matrix:
    """[b, items]: 1 for the last interaction of each history, `decay` for the one before it, and so on."""
    ages = [len(history) - 1.0 - np.arange(len(history)) for history in histories]
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    return sp.csr_matrix(
        (decay ** np.concatenate(ages), (rows, np.concatenate(histories))),
        shape=(len(histories), item_count), dtype=np.float32,
    )  # fmt: skip
