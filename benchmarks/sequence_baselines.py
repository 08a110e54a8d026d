"""Baselines of next-item prediction without a network: popularity, item and history neighbours, factorisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import implicit.als
import numpy as np
import scipy.sparse as sp
from tqdm import tqdm

from training.sequence import neighbours
from training.sequence.data import IntArray, Split
from training.sequence.evaluation import FloatArray, Scorer, ndcg, ranks

_TUNING_USERS = 4_000


def popularity(split: Split, item_count: int) -> Scorer:
    counts = np.bincount(np.concatenate(split.train), minlength=item_count).astype(np.float32)
    return lambda histories: np.tile(counts, (len(histories), 1))


def item_to_item(split: Split, item_count: int, settings: neighbours.NeighbourSettings) -> Scorer:
    return neighbours.scorer(neighbours.neighbours(split.train, item_count, settings), settings)


def history_neighbours(split: Split, item_count: int, decay: float, nearest: int, width: float) -> Scorer:
    """Kernel kNN over histories (after Jannach & Ludewig, RecSys 2017, and Ludewig et al., UMUAI 2020).

    The similarity of histories is their cosine, in which recent interactions weigh more (`decay` per interaction). The
    `nearest` histories vote for their items with weight exp((cosine − 1) / `width`), and rare items weigh more.
    """
    known = neighbours.fading(split.train, item_count, 1.0)
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


def tuned_history_neighbours(split: Split, item_count: int, seed: int) -> tuple[Scorer, Mapping[str, Any]]:
    """(the best scorer of a grid on the validation, its settings)."""
    grid = [
        {"decay": decay, "nearest": nearest, "width": width}
        for decay, nearest, width in product((0.7, 0.9), (100, 500), (0.2,))
    ]
    return _tuned(split, seed, grid, lambda own: history_neighbours(split, item_count, **own), "history kNN")


def tuned_item_to_item(split: Split, item_count: int, seed: int) -> tuple[Scorer, Mapping[str, Any]]:
    grid = [
        {"distance_decay": 0.8, "backward": backward, "frequency": frequency, "history_decay": decay}
        for backward, frequency, decay in product((0.5, 1.0), (0.3, 0.5), (0.6, 0.8))
    ]
    return _tuned(
        split, seed, grid, lambda own: item_to_item(split, item_count, neighbours.NeighbourSettings(**own)), "item kNN"
    )


def tuned_factors(split: Split, item_count: int, seed: int, threads: int) -> tuple[Scorer, Mapping[str, Any]]:
    """Matrix factorisation by alternating least squares (Hu, Koren & Volinsky, ICDM 2008); test users are folded in."""
    grid = [
        {"factors": factors, "alpha": alpha, "regularization": regularization}
        for factors, alpha, regularization in ((64, 10.0, 1.0), (128, 10.0, 1.0), (128, 20.0, 5.0))
    ]

    def fitted(own: Mapping[str, Any]) -> Scorer:
        model = implicit.als.AlternatingLeastSquares(
            **own, iterations=15, num_threads=threads, random_state=seed, use_gpu=False
        )
        model.fit(neighbours.fading(split.train, item_count, 1.0), show_progress=False)

        def score(histories: Sequence[IntArray]) -> FloatArray:
            interactions = neighbours.fading(histories, item_count, 1.0)
            users = model.recalculate_user(np.arange(len(histories)), interactions)
            return np.asarray(users @ model.item_factors.T, np.float32)

        return score

    return _tuned(split, seed, grid, fitted, "factors")


def _tuned(
    split: Split,
    seed: int,
    grid: Sequence[Mapping[str, Any]],
    fitted: Callable[[Mapping[str, Any]], Scorer],
    name: str,
) -> tuple[Scorer, Mapping[str, Any]]:
    """(the best of `grid` on the validation, its settings)."""
    users = np.random.default_rng(seed).permutation(len(split.valid_targets))[:_TUNING_USERS]
    histories, targets = [split.valid_histories[row] for row in users], split.valid_targets[users]
    tried: list[tuple[float, Scorer, Mapping[str, Any]]] = []
    for own in tqdm(grid, desc=name, unit=" settings", mininterval=2):
        scorer = fitted(own)
        tried.append((ndcg(ranks(scorer, histories, targets)), scorer, own))
    highest, best, chosen = max(tried, key=lambda one: one[0])
    return best, {**chosen, "validation_ndcg@10": highest}


def _idf(known: sp.csr_matrix) -> FloatArray:
    counts = np.maximum(np.asarray(known.sum(axis=0)).ravel(), 1)
    rarity: FloatArray = np.log1p(known.shape[0] / counts).astype(np.float32)
    return rarity
