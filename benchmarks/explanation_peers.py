"""Peers of the exact explanations: KernelSHAP (shap, captum), sampled Shapley values and LIME (captum).

Each peer explains a function of six binary inputs, one a feature group, and one output an item. They need the extra
`audit`; no service imports them.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from services.ranker.domain.attribution import DoubleArray, Scorer
from services.ranker.domain.ranking_request import BoolArray
from services.ranker.domain.reasons import GROUPS

# (scorer, number of items) -> contributions [items, 6].
Peer = Callable[[Scorer, int], DoubleArray]


def missing_libraries() -> str:
    """What to install before the peers can explain; empty if all is there."""
    missing = [name for name in ("shap", "captum") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed; install the extra kairos-suite[audit]" if missing else ""


class Counted:
    """A scorer that counts its calls and the rows that it scores."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer, self.calls, self.rows = scorer, 0, 0

    def __call__(self, known: BoolArray) -> DoubleArray:
        scores = np.asarray(self._scorer(known), np.float64)
        self.calls, self.rows = self.calls + 1, self.rows + scores.size
        return scores


def shap_kernel(scorer: Scorer, items: int) -> DoubleArray:
    """All items at once, since KernelExplainer takes a function of several outputs; all 62 proper coalitions."""
    with warnings.catch_warnings():
        # It imports names that its dependencies deprecate; so does captum.
        warnings.simplefilter("ignore")
        import shap
    off, on = np.zeros((1, len(GROUPS))), np.ones((1, len(GROUPS)))
    explainer = shap.KernelExplainer(lambda rows: np.asarray(scorer(rows > 0.5), np.float64), off)
    values = explainer.shap_values(on, nsamples=62, l1_reg=False, silent=True)
    return np.asarray(values, np.float64).reshape(len(GROUPS), items).T


def captum_kernel(scorer: Scorer, items: int) -> DoubleArray:
    return _one_by_one(scorer, items, _captum().KernelShap, n_samples=64)


def captum_sampling(scorer: Scorer, items: int) -> DoubleArray:
    """25 orders, the default."""
    return _one_by_one(scorer, items, _captum().ShapleyValueSampling, n_samples=25)


def captum_lime(scorer: Scorer, items: int) -> DoubleArray:
    """A local linear model, which does not estimate Shapley values.

    Least squares: captum's default, a lasso, sets all coefficients to zero for scores as small as probabilities.
    """
    captum = _captum()
    from captum._utils.models.linear_model import SkLearnLinearRegression

    return _one_by_one(scorer, items, partial(captum.Lime, interpretable_model=SkLearnLinearRegression()), n_samples=64)


def _captum() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import captum.attr

    return captum.attr


def _one_by_one(scorer: Scorer, items: int, method: Any, n_samples: int) -> DoubleArray:
    """captum's methods explain one output at a time."""
    on, off = torch.ones(1, len(GROUPS)), torch.zeros(1, len(GROUPS))

    def scores_of(rows: torch.Tensor, item: int) -> torch.Tensor:
        return torch.from_numpy(np.asarray(scorer(rows.numpy() > 0.5), np.float64)[:, item])

    found = []
    for item in range(items):
        torch.manual_seed(item)
        explained = method(partial(scores_of, item=item)).attribute(
            on, baselines=off, n_samples=n_samples, perturbations_per_eval=64
        )
        found.append(explained.detach().numpy().reshape(len(GROUPS)).astype(np.float64))
    return np.stack(found)


PEERS: Mapping[str, Peer] = {
    "KernelSHAP (shap)": shap_kernel,
    "KernelSHAP (captum)": captum_kernel,
    "sampling (captum)": captum_sampling,
    "LIME (captum)": captum_lime,
}
