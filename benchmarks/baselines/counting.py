"""Baselines that count: popularity, item-to-item neighbours, and neighbours of whole histories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.baselines import neighbours
from benchmarks.baselines.data import IntArray
from benchmarks.baselines.evaluation import FloatArray, Scorer

ITEM_TO_ITEM_GRID: Sequence[dict[str, Any]] = [
    {"distance_decay": distance, "backward": backward, "frequency": frequency, "history_decay": decay}
    for distance, backward, frequency, decay in product((0.6, 0.8), (0.5, 1.0), (0.3, 0.5), (0.6, 0.8))
]
HISTORY_GRID: Sequence[dict[str, Any]] = [
    {"decay": decay, "nearest": nearest, "width": 0.2} for decay, nearest in product((0.7, 0.9), (100, 500))
]


def popularity(sequences: Sequence[IntArray], item_count: int) -> Scorer:
    counts = np.bincount(np.concatenate(sequences), minlength=item_count).astype(np.float32)
    return lambda histories: np.tile(counts, (len(histories), 1))


def item_to_item(sequences: Sequence[IntArray], item_count: int, **settings: float) -> Scorer:
    own = neighbours.NeighbourSettings(**settings)
    return neighbours.scorer(neighbours.neighbours(sequences, item_count, own), own)


def history_neighbours(
    sequences: Sequence[IntArray], item_count: int, decay: float, nearest: int, width: float
) -> Scorer:
    """Kernel kNN over histories (after Jannach & Ludewig, RecSys 2017, and Ludewig et al., UMUAI 2020).

    The similarity of histories is their cosine, in which recent interactions weigh more (`decay` per interaction). The
    `nearest` histories vote for their items with weight exp((cosine − 1) / `width`), and rare items weigh more.
    """
    known = neighbours.fading(sequences, item_count, 1.0)
    lengths = np.sqrt(np.asarray(known.power(2).sum(axis=1)).ravel())
    unit = sp.csr_matrix(sp.diags_array((1 / np.maximum(lengths, 1)).astype(np.float32)) @ known)
    votes, by_item = sp.csr_matrix(unit.multiply(_idf(known)[None, :])), unit.T.tocsr()

    def score(histories: Sequence[IntArray]) -> FloatArray:
        weights = neighbours.fading(histories, item_count, decay)
        norms = np.sqrt(np.asarray(weights.power(2).sum(axis=1)).ravel())
        similarity = np.asarray((weights @ by_item).todense()) / np.maximum(norms, 1e-9)[:, None]
        kept = min(nearest, similarity.shape[1] - 1)
        threshold = np.partition(similarity, -kept, axis=1)[:, -kept, None]
        kernel = np.where((similarity >= threshold) & (similarity > 0), np.exp((similarity - 1) / width), 0)
        return np.asarray((sp.csr_matrix(kernel.astype(np.float32)) @ votes).todense(), np.float32)

    return score


def _idf(known: sp.csr_matrix) -> FloatArray:
    counts = np.maximum(np.asarray(known.sum(axis=0)).ravel(), 1)
    rarity: FloatArray = np.log1p(known.shape[0] / counts).astype(np.float32)
    return rarity
