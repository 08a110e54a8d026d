"""A cross-fitted reward model: each group's rewards are predicted by a model that has not seen the group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.evaluation.estimates import Doubles, Integers

FOLDS = 3


def folds_of(groups: Integers, folds: int, seed: int) -> Integers:
    """[n]: the fold of each observation; all of a group are in one."""
    count = int(groups.max(initial=-1)) + 1
    found: Integers = (np.random.default_rng(seed).permutation(count) % folds)[groups]
    return found


def cross_fitted(
    fit: Callable[[Integers], Callable[[Integers], Doubles]], groups: Integers, seed: int, folds: int = FOLDS
) -> Doubles:
    """[n, ...]: for each observation what `fit` without its fold gives for it.

    `fit(rows)` is fitted to these observations, and returns the function that predicts for others.
    """
    of = folds_of(groups, min(folds, int(groups.max()) + 1), seed)
    if len(np.unique(of)) < 2:
        raise ValueError("the log has a single group; cross-fitting needs two, that is two persons or rankings")
    found: Doubles | None = None
    for fold in np.unique(of):
        rows = np.flatnonzero(of == fold)
        predicted = fit(np.flatnonzero(of != fold))(rows)
        if found is None:
            found = np.zeros((len(groups), *predicted.shape[1:]))
        found[rows] = predicted
    assert found is not None
    return found
