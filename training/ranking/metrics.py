"""Metrics of predicted probabilities and of orders."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
BINS = 15
TOP = 10


def ranks(values: Floats) -> npt.NDArray[np.float64]:
    """From 1, equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return mean


def auc(labels: Floats, scores: Floats) -> float:
    """The probability that a positive ranks above a negative, ties count half. NaN if one of the two is missing."""
    positive = labels > 0
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        return float("nan")
    return float((ranks(scores)[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def reliability(labels: Floats, predicted: Floats, bins: int = BINS) -> npt.NDArray[np.float64]:
    """[bins, 3]: mean prediction, share that came true, examples; bins hold equally many, by prediction."""
    order = np.array_split(np.argsort(predicted, kind="stable"), bins)
    return np.array([(predicted[rows].mean(), labels[rows].mean(), len(rows)) for rows in order if len(rows)])


def calibration_error(labels: Floats, predicted: Floats) -> float:
    """Expected calibration error: mean distance between prediction and share over the bins."""
    table = reliability(labels, predicted)
    return float(np.average(np.abs(table[:, 0] - table[:, 1]), weights=table[:, 2]))


def log_loss(labels: Floats, predicted: Floats) -> float:
    p = np.clip(predicted.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def mean_rank_correlation(page: npt.NDArray[np.int64], scores: Floats, truth: Floats) -> float:
    """Spearman's, within each list, the mean over lists; a list of equal scores counts 0."""
    found = []
    for rows in _lists(page):
        a, b = ranks(scores[rows]), ranks(truth[rows])
        spread = a.std() * b.std()
        found.append(0.0 if spread == 0 else float(np.mean((a - a.mean()) * (b - b.mean())) / spread))
    return float(np.mean(found))


def ndcg(page: npt.NDArray[np.int64], scores: Floats, gains: Floats) -> float:
    """NDCG@10, the mean over lists with a gain; ties stand as they were shown."""
    discounts, found = 1 / np.log2(np.arange(2, TOP + 2)), []
    for rows in _lists(page):
        best = np.sort(gains[rows])[::-1][:TOP]
        if best.any():
            top = gains[rows][np.argsort(-scores[rows], kind="stable")][:TOP]
            found.append(float(top @ discounts[: len(top)] / (best @ discounts[: len(best)])))
    return float(np.mean(found))


def _lists(page: npt.NDArray[np.int64]) -> list[npt.NDArray[np.intp]]:
    return np.split(np.arange(len(page)), np.flatnonzero(np.diff(page)) + 1)
