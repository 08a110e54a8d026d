"""Whom a treatment moves: the expected difference of an outcome with and without it, person by person.

    two-model   a linear regression for each arm, subtracted: the baseline
    T-learner   boosted trees for each arm, subtracted
    X-learner   trees of each arm's residuals against the other arm's model (Kuenzel et al., PNAS 2019)
    DR-learner  trees of the doubly robust score of the difference (Kennedy, 2023)

The arms were drawn at random: the probability of the treatment is its share, or `share` where the design says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import lightgbm
import numpy as np

from training.evaluation.cross_fit import cross_fitted
from training.evaluation.estimates import Doubles, Integers

Regressor = Callable[[Doubles, Doubles], Callable[[Doubles], Doubles]]
Learner = Callable[[Doubles, Integers, Doubles, float], Callable[[Doubles], Doubles]]
FOLDS, _ROUNDS, _RIDGE = 5, 60, 1.0


def linear(features: Doubles, outcomes: Doubles) -> Callable[[Doubles], Doubles]:
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def columns(of: Doubles) -> Doubles:
        return np.concatenate([np.ones((len(of), 1)), (of - mean) / spread], axis=1)

    own = columns(features)
    penalty = np.diag([0.0] + [_RIDGE] * features.shape[1])
    coefficients = np.linalg.solve(own.T @ own + penalty, own.T @ outcomes)
    return lambda of: columns(of) @ coefficients


def trees(features: Doubles, outcomes: Doubles) -> Callable[[Doubles], Doubles]:
    """Small and slow trees: differences between persons are a fraction of the outcome's own noise."""
    parameters = {
        "objective": "regression", "num_leaves": 6, "learning_rate": 0.04, "lambda_l2": 5.0, "verbosity": -1,
        "min_data_in_leaf": max(10, len(outcomes) // 60), "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "seed": 0,
    }  # fmt: skip
    booster = lightgbm.train(parameters, lightgbm.Dataset(features, outcomes), _ROUNDS)
    return lambda of: np.asarray(booster.predict(of, num_threads=1), np.float64)


def _by_arm(
    features: Doubles, treated: Integers, outcomes: Doubles, regressor: Regressor
) -> tuple[Callable[[Doubles], Doubles], Callable[[Doubles], Doubles]]:
    """Models of (control, treatment)."""
    if not 0 < treated.sum() < len(treated):
        raise ValueError("one arm has no person; uplift needs both")
    control, treatment = (regressor(features[treated == arm], outcomes[treated == arm]) for arm in (0, 1))
    return control, treatment


def _two_models(regressor: Regressor) -> Learner:
    def learner(features: Doubles, treated: Integers, outcomes: Doubles, share: float) -> Callable[[Doubles], Doubles]:
        control, treatment = _by_arm(features, treated, outcomes, regressor)
        return lambda of: treatment(of) - control(of)

    return learner


def x_learner(features: Doubles, treated: Integers, outcomes: Doubles, share: float) -> Callable[[Doubles], Doubles]:
    control, treatment = _by_arm(features, treated, outcomes, trees)
    of_treated, of_control = features[treated == 1], features[treated == 0]
    gained = trees(of_treated, outcomes[treated == 1] - control(of_treated))
    missed = trees(of_control, treatment(of_control) - outcomes[treated == 0])
    # The model of the smaller arm's residuals leans on the better model of the other arm.
    return lambda of: share * missed(of) + (1 - share) * gained(of)


def dr_learner(features: Doubles, treated: Integers, outcomes: Doubles, share: float) -> Callable[[Doubles], Doubles]:
    scores = dr_scores(features, treated, outcomes, share, seed=1)
    return trees(features, scores)


def dr_scores(features: Doubles, treated: Integers, outcomes: Doubles, share: float, seed: int) -> Doubles:
    """[n]: their mean in any group of persons, chosen by features, is the effect in it; models are cross-fitted."""

    def fit(rows: Integers) -> Callable[[Integers], Doubles]:
        control, treatment = _by_arm(features[rows], treated[rows], outcomes[rows], trees)
        return lambda others: np.stack([control(features[others]), treatment(features[others])], axis=1)

    expected = cross_fitted(fit, np.arange(len(treated)), seed)
    residuals = outcomes - expected[np.arange(len(treated)), treated]
    weights = treated / share - (1 - treated) / (1 - share)
    found: Doubles = expected[:, 1] - expected[:, 0] + weights * residuals
    return found


BASELINE = "two-model"
LEARNERS: Mapping[str, Learner] = {
    BASELINE: _two_models(linear), "T-learner": _two_models(trees), "X-learner": x_learner, "DR-learner": dr_learner,
}  # fmt: skip


def uplifts(
    learner: Learner, features: Doubles, treated: Integers, outcomes: Doubles, seed: int = 0, share: float | None = None
) -> Doubles:
    """[n]: of each of n persons, by a learner that has not seen the person.

    `features` [n, m]; `treated` [n], 0 or 1; `outcomes` [n].
    """
    chance = float(treated.mean()) if share is None else share
    if not 0 < chance < 1:
        raise ValueError("one arm has no person; uplift needs both")

    def fit(rows: Integers) -> Callable[[Integers], Doubles]:
        model = learner(features[rows], treated[rows], outcomes[rows], chance)
        return lambda others: model(features[others])

    return cross_fitted(fit, np.arange(len(treated)), seed, FOLDS)
