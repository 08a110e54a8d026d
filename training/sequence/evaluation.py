"""Evaluation by full ranking: the rank of the target among all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from training.sequence.data import IntArray

FloatArray = npt.NDArray[np.float32]
# Histories [b] -> scores [b, items]; higher is better. A history may be empty.
Scorer = Callable[[Sequence[IntArray]], FloatArray]
DEPTH = 10
_BATCH = 256


def ranks(scorer: Scorer, histories: Sequence[IntArray], targets: IntArray) -> IntArray:
    """[n], from 0. Items of the history do not count unless they are the target; items with equal scores do."""
    found = np.empty(len(targets), np.int64)
    for start in range(0, len(targets), _BATCH):
        rows = slice(start, start + _BATCH)
        found[rows] = ranks_among(scorer(histories[rows]), histories[rows], targets[rows])
    return found


def ranks_among(scores: FloatArray, histories: Sequence[IntArray], targets: IntArray) -> IntArray:
    """As `ranks`, for scores [b, items]. Raises ValueError for a NaN, which compares with nothing."""
    if np.isnan(scores).any():
        raise ValueError("a score is not a number; a scorer must score every item")
    rows = np.arange(len(targets))
    own = scores[rows, targets]
    counts = np.ones(scores.shape, bool)
    counts[np.repeat(rows, [len(history) for history in histories]), np.concatenate(histories)] = False
    counts[rows, targets] = False
    before: IntArray = ((scores >= own[:, None]) & counts).sum(axis=1)
    return before


def hit_rate(ranks: IntArray) -> float:
    """HR@10: the share of ranks below 10, which with one target is recall@10."""
    return float((ranks < DEPTH).mean())


def ndcg(ranks: IntArray) -> float:
    """NDCG@10 with one target: the mean of `gains`."""
    return float(gains(ranks).mean())


def gains(ranks: IntArray) -> npt.NDArray[np.float64]:
    """[n]: 1 / log2(rank + 2) for ranks below 10, else 0."""
    return np.where(ranks < DEPTH, 1 / np.log2(ranks + 2.0), 0.0)
