"""Small reward models: logistic and Poisson regression with a ridge, by Newton's method."""

from __future__ import annotations

import numpy as np

from training.evaluation.estimates import Doubles

_STEPS, _TOLERANCE = 30, 1e-8


def sigmoid(logits: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def logistic(columns: Doubles, labels: Doubles, ridge: float = 1.0) -> Doubles:
    """[m] coefficients of `columns` [n, m], of which the first is the intercept, without a penalty.

    `labels` [n] in [0, 1]: shares are allowed. The intercept makes the mean prediction that of the labels.
    """
    m = columns.shape[1]
    penalty = np.full(m, ridge)
    penalty[0] = 1e-6
    found = np.zeros(m)
    mean = float(np.clip(labels.mean(), 1e-6, 1 - 1e-6))
    found[0] = np.log(mean / (1 - mean))
    for _ in range(_STEPS):
        p = sigmoid(columns @ found)
        slope = columns.T @ (p - labels) + penalty * found
        curvature = (columns * (p * (1 - p))[:, np.newaxis]).T @ columns + np.diag(penalty)
        step = np.clip(np.linalg.solve(curvature, slope), -2, 2)
        found = found - step
        if np.abs(step).max() < _TOLERANCE:
            break
    return found


def poisson(columns: Doubles, counts: Doubles, exposures: Doubles, ridge: float = 1.0) -> Doubles:
    """[m] coefficients of log rates: the expected count of a row is its exposure times exp(columns @ coefficients).

    `columns` [n, m], of which the first is the intercept, without a penalty; `counts` and `exposures` [n].
    """
    m = columns.shape[1]
    penalty = np.full(m, ridge)
    penalty[0] = 1e-6
    found = np.zeros(m)
    found[0] = np.log(max(counts.sum(), 0.5) / exposures.sum())
    for _ in range(_STEPS):
        expected = exposures * rates(columns, found)
        slope = columns.T @ (expected - counts) + penalty * found
        curvature = (columns * expected[:, np.newaxis]).T @ columns + np.diag(penalty)
        step = np.clip(np.linalg.solve(curvature, slope), -1, 1)
        found = found - step
        if np.abs(step).max() < _TOLERANCE:
            break
    return found


def rates(columns: Doubles, coefficients: Doubles) -> Doubles:
    """[n], at most 1 where an exposure of 1 is the greatest."""
    return np.exp(np.clip(columns @ coefficients, -30, 0))
