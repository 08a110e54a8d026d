"""One order of what several sources propose: boosted trees by LambdaMART (Burges, MSR-TR-2010-82; LightGBM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lightgbm
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.sequence import similarity
from training.sequence.data import Histories, IntArray, Split
from training.sequence.evaluation import FloatArray, gains

Sources = Callable[[Sequence[IntArray]], Sequence[FloatArray]]


class LearnedOrder:
    """Puts the best of the first source in order. `sources` gives scores [b, items] of histories [b]; more is better.

    Learns from the validation's targets: four fifths of the users to fit, one fifth to stop, and to keep the first
    source's own order where the learned one is clearly worse. Beside the sources' scores it knows how like the history
    an item's words are, whether it is of the brand of the last one, and how long the history is.
    """

    CANDIDATES = 100
    MOST_USERS = 15_000

    def __init__(self, histories: Histories, split: Split, sources: Sources, seed: int = 0, threads: int = 1) -> None:
        self._sources = sources
        self._depth = min(self.CANDIDATES, histories.item_count - 1)
        self._likeness = similarity.scorer(histories.texts, history_decay=0.8, power=1)
        self._brands = np.unique([text.brand for text in histories.texts], return_inverse=True)[1]
        self._named = np.array([text.brand not in ("", "Unknown") for text in histories.texts])
        asked = np.random.default_rng(seed).permutation(len(split.valid_targets))[: self.MOST_USERS]
        parts = np.split(asked, [len(asked) * 4 // 5])
        data = [self._examples([split.valid_histories[r] for r in rows], split.valid_targets[rows]) for rows in parts]
        self._model = lightgbm.LGBMRanker(
            n_estimators=300, learning_rate=0.05, num_leaves=31, min_child_samples=50, random_state=seed,
            n_jobs=threads, verbose=-1, deterministic=True,
        )  # fmt: skip
        (features, labels, groups), (held_features, held_labels, held_groups) = data
        # Where nobody's answer is among the candidates there is nothing to learn.
        self.is_kept = bool(groups and held_groups)
        if not self.is_kept:
            return
        self._model.fit(
            features, labels, group=groups, eval_set=[(held_features, held_labels)], eval_group=[held_groups],
            eval_at=[10], callbacks=[lightgbm.early_stopping(30, verbose=False)],
        )  # fmt: skip
        learned = np.asarray(self._model.predict(held_features), np.float32)
        gained = self._gains(learned, held_labels) - self._gains(held_features[:, 0], held_labels)
        # Two standard errors: the first source may have been chosen on these very users.
        self.is_kept = bool(gained.mean() + 2 * gained.std() / len(gained) ** 0.5 > 0)

    def __call__(self, histories: Sequence[IntArray]) -> FloatArray:
        """What is no candidate stands behind all candidates, in the order of the first source."""
        candidates, features, by_source = self._candidates(histories)
        first = by_source[0]
        if not self.is_kept:
            return first
        scores = first / np.maximum(first.max(axis=1, keepdims=True), 1e-9) - 1e3
        predicted = np.asarray(self._model.predict(features.reshape(-1, features.shape[-1])), np.float32)
        np.put_along_axis(scores, candidates, predicted.reshape(candidates.shape), axis=1)
        return np.asarray(scores, np.float32)

    def _examples(self, histories: Sequence[IntArray], targets: IntArray) -> tuple[FloatArray, IntArray, list[int]]:
        features, labels = [], []
        for start in tqdm(range(0, len(targets), 256), desc="learned order: examples", unit=" batches", mininterval=2):
            rows = slice(start, start + 256)
            candidates, found, _ = self._candidates(histories[rows])
            right = candidates == targets[rows, None]
            # A list without the right answer teaches nothing.
            kept = right.any(axis=1)
            features.append(found[kept].reshape(-1, found.shape[-1]))
            labels.append(right[kept].astype(np.int64).ravel())
        count = sum(map(len, labels)) // self._depth
        return np.concatenate(features), np.concatenate(labels), [self._depth] * count

    def _candidates(self, histories: Sequence[IntArray]) -> tuple[IntArray, FloatArray, list[FloatArray]]:
        """(items [b, c], features [b, c, f], scores of each source)."""
        scores = [*self._sources(histories), self._likeness(histories)]
        seen = (
            np.repeat(np.arange(len(histories)), [len(history) for history in histories]), np.concatenate(histories)
        )  # fmt: skip
        first = scores[0].copy()
        first[seen] = -np.inf
        candidates = np.argpartition(-first, self._depth, axis=1)[:, : self._depth]
        last, lengths = np.array([[history[-1], len(history)] if len(history) else [-1, 0] for history in histories]).T
        columns = [np.take_along_axis(own, candidates, axis=1) for own in scores]
        same = self._brands[candidates] == self._brands[last][:, None]
        columns.append(same & self._named[candidates] & (lengths > 0)[:, None])
        columns.append(np.take_along_axis(self._likeness([history[-1:] for history in histories]), candidates, 1))
        columns.append(np.repeat(lengths[:, None], self._depth, axis=1))
        return candidates, np.stack(columns, axis=-1).astype(np.float32), scores

    def _gains(self, scores: FloatArray, labels: IntArray) -> npt.NDArray[np.float64]:
        """What lists with one right item each add to NDCG@10."""
        scores, labels = scores.reshape(-1, self._depth), labels.reshape(-1, self._depth)
        own = scores[labels == 1][:, None]
        return gains((scores >= own).sum(axis=1) - 1)
