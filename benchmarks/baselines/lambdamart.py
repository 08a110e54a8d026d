"""Re-ranking of the candidates of neighbours, popularity and words by boosted trees (LambdaMART, Burges,
MSR-TR-2010-82; LightGBM).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Self

import lightgbm
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.baselines import words
from benchmarks.baselines.counting import HISTORY_GRID, ITEM_TO_ITEM_GRID, history_neighbours, item_to_item, popularity
from benchmarks.baselines.data import Histories, IntArray, Split
from benchmarks.baselines.evaluation import FloatArray, Scorer, gains
from benchmarks.baselines.tuning import best_settings

# Histories [b] -> scores [b, items] of each source; higher is better.
Sources = Callable[[Sequence[IntArray]], Sequence[FloatArray]]


def fit_lambdamart(histories: Histories, split: Split, seed: int, threads: int = 1) -> tuple[Scorer, Mapping[str, Any]]:
    """(scorer, chosen settings of its sources). The trees learn from sources that do not know the validation targets,
    which are their labels; then the sources are fitted on all that is known.
    """
    count = histories.item_count
    near, _ = best_settings(
        split, seed, ITEM_TO_ITEM_GRID, lambda known, **own: item_to_item(known, count, **own), "item-to-item"
    )
    kernel, _ = best_settings(
        split, seed, HISTORY_GRID, lambda known, **own: history_neighbours(known, count, **own), "history kNN"
    )
    # Power 1: with a higher one fewer targets would be among the candidates.
    text = words.scorer(histories.texts, history_decay=0.8, power=1)

    def sources(known: Sequence[IntArray]) -> Sources:
        own = (
            item_to_item(known, count, **near), history_neighbours(known, count, **kernel),
            popularity(known, count), text,
        )  # fmt: skip

        def score(batch: Sequence[IntArray]) -> list[FloatArray]:
            found = [source(batch) for source in own]
            return [sum(one / np.maximum(one.max(axis=1, keepdims=True), 1e-9) for one in found), *found]

        return score

    trees = Reranker(histories, split, sources(split.train), seed, threads)
    report = {"neighbours": near, "histories": kernel, "trees_are_used": trees.is_used}
    return trees.with_sources(sources(split.known)), report


class Reranker:
    """Re-ranks the best candidates of the first of `sources`.

    Trained on the validation targets: four fifths of the users fit the trees, one fifth stops the training early and
    decides whether the trees are used: if they are clearly worse, the order of the first source is kept. Features: the
    sources' scores, the text similarity to the history and to its last item, whether the brand is that of the last
    item, and the length of the history.
    """

    CANDIDATES = 100
    MOST_USERS = 15_000

    def __init__(self, histories: Histories, split: Split, sources: Sources, seed: int = 0, threads: int = 1) -> None:
        self._sources = sources
        self._depth = min(self.CANDIDATES, histories.item_count - 1)
        self._similarity = words.scorer(histories.texts, history_decay=0.8, power=1)
        self._brands = np.unique([text.brand for text in histories.texts], return_inverse=True)[1]
        self._has_brand = np.array([text.brand not in ("", "Unknown") for text in histories.texts])
        users = np.random.default_rng(seed).permutation(len(split.valid_targets))[: self.MOST_USERS]
        parts = np.split(users, [len(users) * 4 // 5])
        data = [self._examples([split.valid_histories[r] for r in rows], split.valid_targets[rows]) for rows in parts]
        self._model = lightgbm.LGBMRanker(
            n_estimators=300, learning_rate=0.05, num_leaves=31, min_child_samples=50, random_state=seed,
            n_jobs=threads, verbose=-1, deterministic=True,
        )  # fmt: skip
        (features, labels, groups), (held_features, held_labels, held_groups) = data
        # Without a target among the candidates there is nothing to train on.
        self.is_used = bool(groups and held_groups)
        if not self.is_used:
            return
        self._model.fit(
            features, labels, group=groups, eval_set=[(held_features, held_labels)], eval_group=[held_groups],
            eval_at=[10], callbacks=[lightgbm.early_stopping(30, verbose=False)],
        )  # fmt: skip
        predicted = np.asarray(self._model.predict(held_features), np.float32)
        gained = self._gains(predicted, held_labels) - self._gains(held_features[:, 0], held_labels)
        # Two standard errors in favour of the trees: the first source may have been selected on these users.
        self.is_used = bool(gained.mean() + 2 * gained.std() / len(gained) ** 0.5 > 0)

    def with_sources(self, sources: Sources) -> Self:
        other = copy(self)
        other._sources = sources
        return other

    def __call__(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores [b, items]; other items are below all candidates, in the order of the first source."""
        candidates, features, by_source = self._candidates(histories)
        first = by_source[0]
        if not self.is_used:
            return first
        scores = first / np.maximum(first.max(axis=1, keepdims=True), 1e-9) - 1e3
        predicted = np.asarray(self._model.predict(features.reshape(-1, features.shape[-1])), np.float32)
        np.put_along_axis(scores, candidates, predicted.reshape(candidates.shape), axis=1)
        return np.asarray(scores, np.float32)

    def _examples(self, histories: Sequence[IntArray], targets: IntArray) -> tuple[FloatArray, IntArray, list[int]]:
        features, labels = [], []
        for start in tqdm(range(0, len(targets), 256), desc="re-ranking: examples", unit=" batches", mininterval=2):
            rows = slice(start, start + 256)
            candidates, found, _ = self._candidates(histories[rows])
            is_target = candidates == targets[rows, None]
            # Lists without the target have no gradient.
            kept = is_target.any(axis=1)
            features.append(found[kept].reshape(-1, found.shape[-1]))
            labels.append(is_target[kept].astype(np.int64).ravel())
        count = sum(map(len, labels)) // self._depth
        return np.concatenate(features), np.concatenate(labels), [self._depth] * count

    def _candidates(self, histories: Sequence[IntArray]) -> tuple[IntArray, FloatArray, list[FloatArray]]:
        """(items [b, c], features [b, c, f], scores of each source)."""
        scores = [*self._sources(histories), self._similarity(histories)]
        seen = (
            np.repeat(np.arange(len(histories)), [len(history) for history in histories]), np.concatenate(histories)
        )  # fmt: skip
        first = scores[0].copy()
        first[seen] = -np.inf
        candidates = np.argpartition(-first, self._depth, axis=1)[:, : self._depth]
        last, lengths = np.array([[history[-1], len(history)] if len(history) else [-1, 0] for history in histories]).T
        columns = [np.take_along_axis(own, candidates, axis=1) for own in scores]
        same = self._brands[candidates] == self._brands[last][:, None]
        columns.append(same & self._has_brand[candidates] & (lengths > 0)[:, None])
        columns.append(np.take_along_axis(self._similarity([history[-1:] for history in histories]), candidates, 1))
        columns.append(np.repeat(lengths[:, None], self._depth, axis=1))
        return candidates, np.stack(columns, axis=-1).astype(np.float32), scores

    def _gains(self, scores: FloatArray, labels: IntArray) -> npt.NDArray[np.float64]:
        """[lists]: gains in NDCG@10 of lists with one target each."""
        scores, labels = scores.reshape(-1, self._depth), labels.reshape(-1, self._depth)
        own = scores[labels == 1][:, None]
        return gains((scores >= own).sum(axis=1) - 1)
