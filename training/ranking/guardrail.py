"""Whether a version is better than the current one, on what both were not trained on: a paired bootstrap.

`compare` is over pages that were shown, `compare_orders` over lists of which one product was the person's next one.

Log loss and AUC are of probabilities at the positions where items were shown, over all pages: a version gains in both
by telling pages with a click from others, which says nothing about an order. NDCG is of the order that is served. The
version of the time chose what was shown: NDCG against its clicks favours models that rank like it. Against a score
without probabilities of its own NDCG must be better all the same: log loss is no evidence there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.user_features import IntArray
from training.bootstrap import mean_interval
from training.ranking.examples import TASKS, Examples
from training.ranking.metrics import TOP

Doubles = npt.NDArray[np.float64]
Metric = Literal["log_loss", "auc", "ndcg", "lists_ndcg"]
# What a click, a cart and a purchase are worth in NDCG, beyond one another.
_GAINS = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
_LEAST = 1e-7


@dataclass(frozen=True)
class Thresholds:
    """`better` must be better, with an interval above 0; the others must not be worse by more than `margin`.

    Against a current version that does not predict, NDCG must be better too.
    """

    resamples: int = 1_000
    confidence: float = 0.95
    better: Metric = "log_loss"
    margin: float = 0.01


class Predictor(Protocol):
    """`order` [n] is the score that makes the served order of a page.

    `predict_as_shown`: probabilities by task, each [n], at the positions where the items were shown. `predicts`:
    whether these are its own. Those of a score are made for the comparison.
    """

    @property
    def predicts(self) -> bool: ...

    def order(self, examples: Examples) -> npt.NDArray[np.floating]: ...

    def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]: ...


@dataclass(frozen=True)
class Difference:
    """The difference in one metric. `low` and `high` bound challenger minus current."""

    current: float
    challenger: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reason: str
    differences: dict[Metric, Difference]

    def figures(self) -> dict[str, object]:
        return {name: asdict(difference) for name, difference in self.differences.items()}


def compare(held: Examples, current: Predictor, challenger: Predictor, settings: Thresholds, seed: int = 0) -> Verdict:
    """`held` was not used to train either of the two. Raises ValueError if no item of it was clicked, or every one."""
    if not 0 < held.click.sum() < len(held):
        raise ValueError("no item, or every item, of the held-back pages was clicked; they cannot tell versions apart")
    random = np.random.default_rng(seed)
    r = held.page_count
    # Row 0 counts each page once: the metric itself.
    weights = np.vstack([np.ones(r), random.multinomial(r, np.full(r, 1 / r), settings.resamples)])
    measured = {name: (_metrics(held, model, weights)) for name, model in (("a", current), ("b", challenger))}
    tail = (1 - settings.confidence) / 2
    differences: dict[Metric, Difference] = {}
    for metric in measured["a"]:
        a, b = measured["a"][metric], measured["b"][metric]
        low, high = np.nanquantile(b[1:] - a[1:], [tail, 1 - tail])
        differences[metric] = Difference(float(a[0]), float(b[0]), float(low), float(high))
    return _verdict(differences, settings, {settings.better} if current.predicts else {settings.better, "ndcg"})


def compare_orders(
    lists: IntArray, gains: npt.NDArray[np.floating], current: npt.NDArray[np.floating],
    challenger: npt.NDArray[np.floating], missed: int,
) -> Verdict:  # fmt: skip
    """By NDCG@10 of n candidates; a person has one list. `missed`: further lists, whose candidates have no gain.

    `lists` [n], ascending, without gaps; `gains` and both scores [n]. It passes with an interval above 0.
    """
    count = int(lists[-1]) + 1 if len(lists) else 0
    a, b = (
        np.append(ndcg_of_lists(lists, count, scores, gains, TOP), np.zeros(missed)) for scores in (current, challenger)
    )
    if not count:
        return Verdict(False, "no held-back list has the person's next product", {})
    found = Difference(float(a.mean()), float(b.mean()), *mean_interval(b - a, 0, digits=6))
    kind = "better" if found.low > 0 else "worse" if found.high < 0 else "not surely better"
    return Verdict(found.low > 0, f"NDCG@10 of held-back lists is {kind}", {"lists_ndcg": found})


def _verdict(differences: dict[Metric, Difference], settings: Thresholds, better: set[Metric]) -> Verdict:
    for metric, found in differences.items():
        # A lower log loss is better.
        low, high = (-found.high, -found.low) if metric == "log_loss" else (found.low, found.high)
        if metric in better and low <= 0:
            kind = "worse" if high < 0 else "not surely better"
            return Verdict(False, f"{metric} is {kind}", differences)
        if low < -settings.margin:
            return Verdict(False, f"{metric} may be worse by more than {settings.margin}", differences)
    return Verdict(True, f"{' and '.join(sorted(better))} {'are' if len(better) > 1 else 'is'} better", differences)


def log_losses(examples: Examples, predicted: dict[str, FloatArray]) -> Doubles:
    """[n]: binary cross-entropy, summed over the tasks."""
    total = np.zeros(len(examples))
    for task in TASKS:
        label, p = getattr(examples, task), np.clip(predicted[task].astype(np.float64), _LEAST, 1 - _LEAST)
        total -= np.where(label > 0, np.log(p), np.log1p(-p))
    return total


def _metrics(held: Examples, model: Predictor, weights: Doubles) -> dict[Metric, Doubles]:
    """Each [resamples]."""
    r, as_shown = held.page_count, model.predict_as_shown(held)
    losses = np.bincount(held.page, log_losses(held, as_shown), r)
    sizes = np.bincount(held.page, minlength=r)
    ndcg = ndcg_of_pages(held, model.order(held))
    chosen = np.isfinite(ndcg)
    return {
        "log_loss": (weights @ losses) / (weights @ sizes),
        "auc": np.array([_auc(as_shown["click"], held.click, row[held.page]) for row in weights]),
        "ndcg": (weights[:, chosen] @ ndcg[chosen]) / np.maximum(weights[:, chosen].sum(1), 1),
    }


def ndcg_of_pages(examples: Examples, scores: npt.NDArray[np.floating]) -> Doubles:
    """[r], over all items of the page; NaN for a page without an outcome."""
    gains = np.asarray(sum(_GAINS[task] * getattr(examples, task) for task in TASKS))
    return ndcg_of_lists(examples.page, examples.page_count, scores, gains)


def ndcg_of_lists(
    lists: IntArray, count: int, scores: npt.NDArray[np.floating], gains: npt.NDArray[np.floating],
    top: int | None = None, weights: npt.NDArray[np.floating] | None = None,
) -> Doubles:  # fmt: skip
    """[count]: of the first `top` candidates of each list; NaN for a list without a gain.

    `lists` [n], ascending, `scores` and `gains` [n]. `weights` [n] multiply the gains, but not the best order's.
    """
    weighted = gains if weights is None else gains * weights
    best = _discounted(lists, count, gains, -gains, gains, top)
    return _discounted(lists, count, weighted, -scores, gains, top) / np.where(best > 0, best, np.nan)


def _discounted(
    lists: IntArray, count: int, values: npt.NDArray[np.floating], order: npt.NDArray[np.floating],
    ties: npt.NDArray[np.floating], top: int | None,
) -> Doubles:  # fmt: skip
    """[count]: DCG of each list sorted ascending by `order`."""
    # Ties are resolved against the model: items with an outcome go last.
    rows = np.lexsort((ties, order, lists))
    places = np.arange(len(lists)) - np.searchsorted(lists, np.arange(count))[lists]
    discounts = 1 / np.log2(places + 2)
    if top is not None:
        discounts[places >= top] = 0
    sums: Doubles = np.bincount(lists[rows], (values[rows] * discounts).astype(np.float64), count).astype(np.float64)
    return sums


def _auc(scores: FloatArray, labels: FloatArray, weights: Doubles) -> float:
    """The probability that a clicked row ranks above one that was not, ties count half; NaN if one kind is missing."""
    _, group = np.unique(scores, return_inverse=True)
    hits = np.bincount(group, weights * labels)
    misses = np.bincount(group, weights * (1 - labels))
    below = np.cumsum(misses) - misses
    pairs = hits.sum() * misses.sum()
    return float((hits * (below + misses / 2)).sum() / pairs) if pairs else float("nan")
