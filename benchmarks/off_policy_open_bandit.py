"""The value of Bernoulli Thompson sampling, estimated from the log of a random policy (Saito et al., 2020)."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.cross_fit import cross_fitted
from training.evaluation.estimates import Doubles, Integers
from training.evaluation.estimators import ESTIMATORS, Logged
from training.evaluation.regression import logistic, sigmoid

CAMPAIGNS = ("men", "women")
# Relative errors with the full data, by the authors.
PUBLISHED = {"ips": 0.084, "dm": 0.156, "dr": 0.126}
PLACES = 3
_RIDGE = 5.0


@dataclass(frozen=True)
class Rows:
    """n logged decisions: `items` from 0, `places` from 0, `features` [n, m] of the visitor."""

    items: Integers
    places: Integers
    clicks: Doubles
    propensities: Doubles
    features: Doubles

    def take(self, rows: Integers) -> Rows:
        return Rows(
            self.items[rows], self.places[rows], self.clicks[rows], self.propensities[rows], self.features[rows]
        )


def read(data: Path, policy: str, campaign: str) -> Rows:
    with gzip.open(data / f"{policy}_{campaign}.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> Doubles:
        return np.array([float(row[name]) for row in rows])

    features = []
    for name in (f"user_feature_{at}" for at in range(4)):
        features += [[float(row[name] == value) for row in rows] for value in sorted({row[name] for row in rows})]
    return Rows(
        column("item_id").astype(np.int64), column("position").astype(np.int64) - 1, column("click"),
        column("propensity_score"), np.array(features).T,
    )  # fmt: skip


def relative_errors(data: Path, campaign: str, draws: int) -> dict[str, Any]:
    """By estimator: estimate / value - 1, and its 95 % interval over draws of both logs.

    The policy's probabilities are the shares of the products at each place in its own log.
    """
    logged, own = read(data, "random", campaign), read(data, "bts", campaign)
    found = _values(logged, own, np.arange(len(logged.items)))
    random = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for _ in range(draws):
        rows = random.integers(0, len(logged.items), len(logged.items))
        others = random.integers(0, len(own.items), len(own.items))
        for name, ratio in _values(logged.take(rows), own.take(others), rows).items():
            drawn[name].append(ratio - 1)
    return {
        name: {
            "error": ratio - 1,
            "low": float(np.quantile(drawn[name], 0.025)), "high": float(np.quantile(drawn[name], 0.975)),
        }
        for name, ratio in found.items()
    } | {"clicks": {"logged": float(logged.clicks.sum()), "own": float(own.clicks.sum())}}  # fmt: skip


def _values(logged: Rows, own: Rows, names: Integers) -> dict[str, float]:
    """By estimator: the estimated value over that of the policy's own log. `names` [n]: equal rows are one."""
    item_count = int(max(logged.items.max(), own.items.max())) + 1
    shares = np.zeros((item_count, PLACES))
    np.add.at(shares, (own.items, own.places), 1.0)
    shares /= shares.sum(axis=0)
    rows = np.arange(len(logged.items))

    def fit(chosen: Integers):  # type: ignore[no-untyped-def]
        columns = _columns(logged.features[chosen], logged.items[chosen], logged.places[chosen], item_count)
        of = logistic(columns, logged.clicks[chosen], _RIDGE)

        def predict(others: Integers) -> Doubles:
            base = _columns(logged.features[others], None, logged.places[others], item_count) @ of
            by_item = of[1 : 1 + item_count]
            return sigmoid(base[:, np.newaxis] + by_item)

        return predict

    groups = np.unique(names, return_inverse=True)[1]
    q = cross_fitted(fit, groups, 0)
    weights = shares[logged.items, logged.places] / logged.propensities
    expected = (q * shares[:, logged.places].T).sum(axis=1)
    log = Logged(logged.clicks, weights, q[rows, logged.items], expected, rows, groups)
    value = float(own.clicks.mean())
    return {name: float(estimator(log).value / value) for name, estimator in ESTIMATORS.items()}


def _columns(features: Doubles, items: Integers | None, places: Integers, item_count: int) -> Doubles:
    """[n, 1 + items + PLACES + features]: the intercept, the item (None: no item), the place, the visitor."""
    of_item = np.zeros((len(places), item_count)) if items is None else np.eye(item_count)[items]
    return np.concatenate([np.ones((len(places), 1)), of_item, np.eye(PLACES)[places], features], axis=1)
