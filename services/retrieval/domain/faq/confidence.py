"""How likely an entry answers a question: logistic models over what the two have in common.

`similarity` is a fixed model of a pair of questions. It orders the entries. `Calibration` makes a probability of the
similarity of an entry and of its margin over the next other one. It is fitted to the entries of each shop, with a fixed
one as its prior: a shop with few alternative questions keeps about the prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Of an answer, and of an entry that stands above the results of a search, where few queries are questions.
ANSWERS_FROM, SHOWN_FROM = 0.5, 0.9
# How much the prior counts, against examples; and the steps of Newton's method, which converges in fewer.
_PRIOR_STRENGTH, _STEPS = 4.0, 12
_UNCHANGED = np.array([1.0, 0.0])
# Of the questions about what a shop does, so many are taken to have no entry.
_ABSENT = 0.1
_SIZES = tuple(0.5**halvings for halvings in range(12))
_LARGEST = 30.0


@dataclass(frozen=True)
class Evidence:
    """Of one question of an entry, each 0 to 1: cosine (None without vectors), shares of the words, and of the pairs of
    characters.
    """

    cosine: float | None
    of_asked: float
    of_known: float
    alike: float


def similarity(evidence: Evidence) -> float:
    """0 to 1; the same scale with and without vectors."""
    words = (evidence.of_asked + evidence.of_known) / 2
    if evidence.cosine is None:
        return 0.6 * words + 0.4 * evidence.alike
    return 0.6 * max(evidence.cosine, 0.0) + 0.25 * words + 0.15 * evidence.alike


@dataclass(frozen=True)
class Example:
    """A question with the best entry that was found for it, and whether that one was right.

    `is_absent`: whether the entry that answers it was left out.
    """

    similarity: float
    margin: float
    is_right: bool
    is_absent: bool = False


@dataclass(frozen=True)
class Calibration:
    """Weights of (similarity, margin, 1)."""

    weights: tuple[float, float, float]

    def confidence(self, similarity: float, margin: float) -> float:
        """`margin`: over the next other entry; negative for an entry that is not the best."""
        return _sigmoid(self._logit(similarity, margin))

    def fitted(self, examples: Sequence[Example]) -> Calibration:
        """This one as the prior, scaled and shifted so that the examples are most likely (Platt; Newton's method).

        The ratio of similarity and margin stays: among the entries of one shop the margin says nearly all, and of
        questions about something else it says nothing.
        """
        absent = sum(each.is_absent for each in examples)
        present = len(examples) - absent
        if not present:
            return self
        own = np.array([self._logit(each.similarity, each.margin) for each in examples])
        rows = np.stack([own, np.ones(len(own))], axis=1)
        right = np.array([float(each.is_right) for each in examples])
        share = _ABSENT / (1 - _ABSENT) * present / max(absent, 1)
        counts = np.array([share if each.is_absent else 1.0 for each in examples])

        def loss(weights: npt.NDArray[np.float64]) -> float:
            scores = rows @ weights
            likelihood = counts @ (np.logaddexp(0, scores) - right * scores)
            return float(likelihood + _PRIOR_STRENGTH * np.square(weights - _UNCHANGED).sum() / 2)

        weights = _UNCHANGED
        for _ in range(_STEPS):
            likely = 1 / (1 + np.exp(-np.clip(rows @ weights, -_LARGEST, _LARGEST)))
            slope = rows.T @ (counts * (likely - right)) + _PRIOR_STRENGTH * (weights - _UNCHANGED)
            curve = (rows * (counts * likely * (1 - likely))[:, np.newaxis]).T @ rows + _PRIOR_STRENGTH * np.eye(2)
            step = np.linalg.solve(curve, slope)
            # Far from the best weights a whole step may go too far.
            size = next((size for size in _SIZES if loss(weights - size * step) < loss(weights)), 0.0)
            weights = weights - size * step
        scale, shift = float(weights[0]), float(weights[1])
        similarity, margin, constant = self.weights
        return Calibration((scale * similarity, scale * margin, scale * constant + shift))

    def _logit(self, similarity: float, margin: float) -> float:
        return sum(weight * value for weight, value in zip(self.weights, (similarity, margin, 1.0), strict=True))


# As the weights of `similarity`: round numbers, chosen on the development half of benchmarks/faq.py.
PRIOR_WITH_VECTORS = Calibration((12.0, 8.0, -7.0))
PRIOR_WITHOUT_VECTORS = Calibration((10.0, 6.0, -5.0))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-_LARGEST, min(_LARGEST, value))))
