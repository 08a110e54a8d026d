"""What a shop can have without a network: popularity, neighbours of items and of histories, factors, LambdaMART."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import implicit.als
import lightgbm
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm import tqdm

from training.sequence import neighbours
from training.sequence.data import Histories, IntArray, Split
from training.sequence.evaluation import FloatArray, Scorer, ndcg, ranks

_TUNING_USERS = 4_000


def popularity(split: Split, item_count: int) -> Scorer:
    counts = np.bincount(np.concatenate(split.learned), minlength=item_count).astype(np.float32)
    return lambda histories: np.tile(counts, (len(histories), 1))


def item_to_item(split: Split, item_count: int, settings: neighbours.NeighbourSettings) -> Scorer:
    return neighbours.scorer(neighbours.neighbours(split.learned, item_count, settings), settings)


def history_neighbours(split: Split, item_count: int, decay: float, nearest: int, width: float) -> Scorer:
    """Kernel kNN over histories (after Jannach & Ludewig, RecSys 2017, and Ludewig et al., UMUAI 2020).

    Histories are as near as their cosine, late acts weigh more (`decay` an act); the `nearest` vote for their items by
    exp((cosine - 1) / `width`), rare items more.
    """
    known = neighbours.fading(split.learned, item_count, 1.0)
    lengths = np.sqrt(np.asarray(known.power(2).sum(axis=1)).ravel())
    unit = sp.csr_matrix(sp.diags_array((1 / np.maximum(lengths, 1)).astype(np.float32)) @ known)
    votes, by_item = sp.csr_matrix(unit.multiply(_idf(known)[None, :])), unit.T.tocsr()

    def score(histories: Sequence[IntArray]) -> FloatArray:
        asked = neighbours.fading(histories, item_count, decay)
        norms = np.sqrt(np.asarray(asked.power(2).sum(axis=1)).ravel())
        likeness = np.asarray((asked @ by_item).todense()) / np.maximum(norms, 1e-9)[:, None]
        kept = min(nearest, likeness.shape[1] - 1)
        threshold = np.partition(likeness, -kept, axis=1)[:, -kept, None]
        kernel = np.where((likeness >= threshold) & (likeness > 0), np.exp((likeness - 1) / width), 0)
        return np.asarray((sp.csr_matrix(kernel.astype(np.float32)) @ votes).todense(), np.float32)

    return score


def tuned_history_neighbours(split: Split, item_count: int, seed: int) -> tuple[Scorer, Mapping[str, Any]]:
    """The best of a grid on the validation."""
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
    """Matrix factorisation by alternating least squares (Hu, Koren & Volinsky, ICDM 2008), users folded in."""
    grid = [
        {"factors": factors, "alpha": alpha, "regularization": regularization}
        for factors, alpha, regularization in ((64, 10.0, 1.0), (128, 10.0, 1.0), (128, 20.0, 5.0))
    ]

    def fitted(own: Mapping[str, Any]) -> Scorer:
        model = implicit.als.AlternatingLeastSquares(
            **own, iterations=15, num_threads=threads, random_state=seed, use_gpu=False
        )
        model.fit(neighbours.fading(split.learned, item_count, 1.0), show_progress=False)

        def score(histories: Sequence[IntArray]) -> FloatArray:
            asked = neighbours.fading(histories, item_count, 1.0)
            users = model.recalculate_user(np.arange(len(histories)), asked)
            return np.asarray(users @ model.item_factors.T, np.float32)

        return score

    return _tuned(split, seed, grid, fitted, "factors")


class LambdaMart:
    """LightGBM over the candidates of item-to-item, popularity and text (LambdaMART, Burges 2010).

    Learns from the validation's targets: four fifths of the users to fit, one fifth to stop.
    """

    CANDIDATES = 100

    def __init__(self, histories: Histories, split: Split, sources: Mapping[str, Scorer], seed: int, threads: int):
        self._sources, self._count = sources, histories.item_count
        self._texts = TfidfVectorizer(dtype=np.float32, token_pattern=r"[^\s|]+").fit_transform(
            [f"{text.keywords} {text.brand} {text.categories}" for text in histories.texts]
        )
        self._brands = np.unique([text.brand for text in histories.texts], return_inverse=True)[1]
        self._named = np.array([text.brand not in ("", "Unknown") for text in histories.texts])
        asked = np.random.default_rng(seed).permutation(len(split.valid_targets))[:15_000]
        parts = np.split(asked, [len(asked) * 4 // 5])
        data = [self._examples([split.valid_histories[r] for r in rows], split.valid_targets[rows]) for rows in parts]
        self._model = lightgbm.LGBMRanker(
            n_estimators=300, learning_rate=0.05, num_leaves=31, min_child_samples=50, random_state=seed,
            n_jobs=threads, verbose=-1, deterministic=True,
        )  # fmt: skip
        (features, labels, groups), (held_features, held_labels, held_groups) = data
        self._model.fit(
            features, labels, group=groups, eval_set=[(held_features, held_labels)], eval_group=[held_groups],
            eval_at=[10], callbacks=[lightgbm.early_stopping(30, verbose=False)],
        )  # fmt: skip

    def __call__(self, histories: Sequence[IntArray]) -> FloatArray:
        """What is no candidate stands behind all candidates, in the order of the first source."""
        candidates, features, by_source = self._candidates(histories)
        first = by_source[0]
        scores = first / np.maximum(first.max(axis=1, keepdims=True), 1e-9) - 1e3
        predicted = np.asarray(self._model.predict(features.reshape(-1, features.shape[-1])), np.float32)
        np.put_along_axis(scores, candidates, predicted.reshape(candidates.shape), axis=1)
        return np.asarray(scores, np.float32)

    def _examples(self, histories: Sequence[IntArray], targets: IntArray) -> tuple[FloatArray, IntArray, list[int]]:
        features, labels = [], []
        for start in tqdm(range(0, len(targets), 256), desc="LambdaMART examples", unit=" batches", mininterval=2):
            rows = slice(start, start + 256)
            candidates, found, _ = self._candidates(histories[rows])
            right = candidates == targets[rows, None]
            # A list without the right answer teaches nothing.
            kept = right.any(axis=1)
            features.append(found[kept].reshape(-1, found.shape[-1]))
            labels.append(right[kept].astype(np.int64).ravel())
        count = sum(map(len, labels)) // self.CANDIDATES
        return np.concatenate(features), np.concatenate(labels), [self.CANDIDATES] * count

    def _candidates(self, histories: Sequence[IntArray]) -> tuple[IntArray, FloatArray, list[FloatArray]]:
        """(items [b, c], features [b, c, f], scores of each source)."""
        scores = [source(histories) for source in self._sources.values()]
        scores.append(self._likeness(histories, 0.8))
        seen = (
            np.repeat(np.arange(len(histories)), [len(history) for history in histories]), np.concatenate(histories)
        )  # fmt: skip
        mixed = np.zeros_like(scores[0])
        for own in scores:
            mixed += own / np.maximum(own.max(axis=1, keepdims=True), 1e-9)
        mixed[seen] = -1
        candidates = np.argpartition(-mixed, self.CANDIDATES, axis=1)[:, : self.CANDIDATES]
        last = np.array([history[-1] for history in histories])
        columns = [np.take_along_axis(own, candidates, axis=1) for own in (*scores, mixed)]
        columns.append((self._brands[candidates] == self._brands[last][:, None]) & self._named[candidates])
        columns.append(np.take_along_axis(self._likeness([history[-1:] for history in histories], 1.0), candidates, 1))
        columns.append(np.repeat([[len(history)] for history in histories], self.CANDIDATES, axis=1))
        return candidates, np.stack(columns, axis=-1).astype(np.float32), scores

    def _likeness(self, histories: Sequence[IntArray], decay: float) -> FloatArray:
        words = neighbours.fading(histories, self._count, decay) @ self._texts
        return np.asarray((words @ self._texts.T).todense(), np.float32)


def _tuned(
    split: Split,
    seed: int,
    grid: Sequence[Mapping[str, Any]],
    fitted: Callable[[Mapping[str, Any]], Scorer],
    name: str,
) -> tuple[Scorer, Mapping[str, Any]]:
    """(the best of `grid` on the validation, its settings)."""
    asked = np.random.default_rng(seed).permutation(len(split.valid_targets))[:_TUNING_USERS]
    histories, targets = [split.valid_histories[row] for row in asked], split.valid_targets[asked]
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
