"""Probabilities of a score of the logged features: the weighted sum of the settings as an opponent of networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.weights import Weights
from training.ranking.examples import TASKS, Examples

Doubles = npt.NDArray[np.float64]
_STEPS, _RIDGE = 25, 1e-3


class ScoringFunction:
    """`score` gives [n] of n examples; for each task a logistic curve over score and position makes probabilities.

    The curves are fitted to `fitted_to`, as a network is: without them a score would lose on log loss by its scale.
    """

    predicts = False

    def __init__(self, score: Callable[[Examples], Doubles], fitted_to: Examples) -> None:
        self._score = score
        columns = self._columns(fitted_to)
        self._curves = {task: logistic_curve(columns, getattr(fitted_to, task).astype(np.float64)) for task in TASKS}

    @classmethod
    def of_weights(cls, weights: Weights, fitted_to: Examples) -> ScoringFunction:
        """The weighted sum."""
        columns = weight_columns(weights)
        return cls(lambda examples: examples.numbers @ columns, fitted_to)

    def order(self, examples: Examples) -> Doubles:
        """[n]: the score itself. A curve may fall with it: the place, which follows from it, is in the curve too."""
        return self._score(examples)

    def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]:
        return self._probabilities(self._columns(examples))

    def _columns(self, examples: Examples) -> Doubles:
        return np.stack([np.ones(len(examples)), self._score(examples), np.log(examples.positions)], axis=1)

    def _probabilities(self, columns: Doubles) -> dict[str, FloatArray]:
        return {task: sigmoid(columns @ curve).astype(np.float32) for task, curve in self._curves.items()}


def weight_columns(weights: Weights) -> Doubles:
    """[CANDIDATE_NUMBERS]: what each candidate feature counts in the weighted sum."""
    found = np.zeros(len(CANDIDATE_NUMBERS))
    for name, weight in (
        ("query_match", weights.query), ("type_match", weights.query), ("history_match", weights.history),
        ("price_affinity", weights.price), ("popularity", weights.popularity), ("out_of_stock", -weights.availability),
        ("shopper_match", weights.shopper), ("neighbour_match", weights.neighbours),
    ):  # fmt: skip
        found[CANDIDATE_NUMBERS.index(name)] = weight
    return found


def logistic_curve(columns: Doubles, labels: Doubles) -> Doubles:
    """Newton's method with a small ridge, which keeps a task without any outcome away from infinity."""
    curve = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        p = sigmoid(columns @ curve)
        slope = columns.T @ (p - labels) + _RIDGE * curve
        curvature = (columns * (p * (1 - p))[:, np.newaxis]).T @ columns + _RIDGE * np.eye(len(curve))
        curve -= np.clip(np.linalg.solve(curvature, slope), -2, 2)
    return curve


def sigmoid(logits: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
