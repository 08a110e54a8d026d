"""Evaluation by full ranking: the rank of the target among all items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.baselines.data import IntArray

FloatArray = npt.NDArray[np.float32]
# Histories [b] -> scores [b, items]; higher is better. A history may be empty.
Scorer = Callable[[Sequence[IntArray]], FloatArray]
DEPTH = 10
_BATCH = 256


def ranks(scorer: Scorer, histories: Sequence[IntArray], targets: IntArray) -> IntArray:
    """[n], from 0. Items of the history do not count unless they are the target; items with equal scores do."""
    return np.concatenate([np.empty(0, np.int64), *ranks_in_batches(scorer, histories, targets)])


def ranks_in_batches(scorer: Scorer, histories: Sequence[IntArray], targets: IntArray) -> Iterator[IntArray]:
    for start in range(0, len(targets), _BATCH):
        rows = slice(start, start + _BATCH)
        yield ranks_among(scorer(histories[rows]), histories[rows], targets[rows])


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


def hits(ranks: npt.NDArray[np.integer], depth: int = DEPTH) -> npt.NDArray[np.float64]:
    """[n]: 1 for ranks below `depth`, else 0. With one target the mean is HR@depth, which is also recall@depth."""
    return (ranks < depth).astype(np.float64)


def gains(ranks: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """[n]: 1 / log2(rank + 2) for ranks below 10, else 0. With one target the mean is NDCG@10."""
    return np.where(ranks < DEPTH, 1 / np.log2(ranks + 2.0), 0.0)


def ndcg(ranks: npt.NDArray[np.integer]) -> float:
    """NDCG@10."""
    return float(gains(ranks).mean())
