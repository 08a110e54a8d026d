"""Calibration: each head's logit is scaled and shifted until its probabilities fit held-back pages.

Platt's scaling (1999). A head that follows another one is fitted on the examples that reached the one before, which
keeps the order of the probabilities: purchase below cart below click.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray

# The weight of the earlier calibration, in examples.
_PRIOR = 20.0
_LEAST_STRETCH, _MOST_STRETCH = 0.05, 20.0
_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """A logit z of head t becomes stretch[t] * z + shift[t]. Stretches are positive: the order does not change."""

    stretch: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def identity(cls, tasks: int) -> Calibration:
        return cls((1.0,) * tasks, (0.0,) * tasks)

    def apply(self, logits: FloatArray) -> FloatArray:
        """[..., tasks]."""
        fitted: FloatArray = (logits * np.array(self.stretch) + np.array(self.shift)).astype(np.float32)
        return fitted


def calibrated(before: Calibration, logits: FloatArray, labels: FloatArray, chained: bool) -> Calibration:
    """From raw `logits` [n, tasks] of held-back examples, and labels. With few examples it stays near `before`."""
    stretch, shift = [], []
    for task in range(logits.shape[1]):
        got_there = labels[:, task - 1] > 0 if chained and task else np.ones(len(labels), np.bool_)
        a, b = _platt(logits[got_there, task], labels[got_there, task], before.stretch[task], before.shift[task])
        stretch.append(a)
        shift.append(b)
    return Calibration(tuple(stretch), tuple(shift))


def _platt(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.floating], stretch: float, shift: float
) -> tuple[float, float]:
    """Newton's steps on the log loss, with a prior at (stretch, shift)."""
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    start = np.array([stretch, shift])
    fitted = start.copy()
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ fitted, -30, 30)))
        # A quarter is the largest curvature of an example.
        gradient = x.T @ (p - labels) + _PRIOR / 4 * (fitted - start)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + _PRIOR / 4 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        fitted = fitted - np.clip(step, -1, 1)
        fitted[0] = np.clip(fitted[0], _LEAST_STRETCH, _MOST_STRETCH)
        if np.abs(step).max() < 1e-6:
            break
    return float(fitted[0]), float(fitted[1])
