"""Evaluation by full ranking: the rank of the item of an event among all products that are new to the person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from training.bootstrap import mean_interval
from training.shopper.data import IntArray, ShopperLog

# Events of the log [b] -> scores of all products before them [b, n]; higher is better.
Scorer = Callable[[IntArray], FloatArray]
DEPTH, CANDIDATES = 10, 200
_BATCH = 256


@dataclass(frozen=True)
class Quality:
    """Of one method on n events: HR@10, NDCG@10 and recall@200 with one relevant item each, and 95 % intervals."""

    events: int
    hit_rate: float
    ndcg: float
    recall: float
    hit_rate_interval: tuple[float, float]
    ndcg_interval: tuple[float, float]


def ranks(scorer: Scorer, log: ShopperLog, events: IntArray) -> IntArray:
    """[b], from 0. Items of the person's earlier events do not count; items with equal scores do."""
    found = np.empty(len(events), np.int64)
    for start in range(0, len(events), _BATCH):
        rows = events[start : start + _BATCH]
        scores = scorer(rows)
        own = scores[np.arange(len(rows)), log.items[rows]].copy()
        at, items = seen(log, rows)
        scores[at, items] = -np.inf
        scores[np.arange(len(rows)), log.items[rows]] = -np.inf
        found[start : start + _BATCH] = (scores >= own[:, None]).sum(axis=1)
    return found


def seen(log: ShopperLog, events: IntArray) -> tuple[IntArray, IntArray]:
    """(row of `events`, item) of all items of the persons' earlier events."""
    begins = log.starts[np.searchsorted(log.starts, events, side="right") - 1]
    lengths = events - begins
    at = np.repeat(np.arange(len(events)), lengths)
    rows = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(begins, lengths)
    items = log.items[rows]
    return at[items >= 0], items[items >= 0]


def gains(ranks: IntArray) -> npt.NDArray[np.float64]:
    """[b]: 1 / log2(rank + 2) for ranks below 10, else 0."""
    return np.where(ranks < DEPTH, 1 / np.log2(ranks + 2.0), 0.0)


def quality(ranks: IntArray, seed: int = 0) -> Quality:
    if not len(ranks):
        return Quality(0, 0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))
    hits, gained = (ranks < DEPTH).astype(np.float64), gains(ranks)
    return Quality(
        len(ranks), float(hits.mean()), float(gained.mean()), float((ranks < CANDIDATES).mean()),
        mean_interval(hits, seed), mean_interval(gained, seed),
    )  # fmt: skip
