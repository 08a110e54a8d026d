"""Settings of a baseline are chosen on the validation; then it is fitted again on all that the test does not hide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.baselines.data import IntArray, Split
from benchmarks.baselines.evaluation import Scorer, ndcg, ranks

# (sequences, **settings) -> scorer
Fit = Callable[..., Scorer]
TUNING_USERS = 4_000


def validation_sample(split: Split, seed: int, users: int = TUNING_USERS) -> tuple[list[IntArray], IntArray]:
    """(histories, targets) of a random sample of the validation."""
    chosen = np.random.default_rng(seed).permutation(len(split.valid_targets))[:users]
    return [split.valid_histories[row] for row in chosen], split.valid_targets[chosen]


def best_settings(
    split: Split, seed: int, grid: Sequence[Mapping[str, Any]], fit: Fit, name: str
) -> tuple[Mapping[str, Any], float]:
    """(the best of `grid` on the validation, its NDCG@10)."""
    histories, targets = validation_sample(split, seed)
    tried = [
        (ndcg(ranks(fit(split.train, **own), histories, targets)), own)
        for own in tqdm(grid, desc=f"{name}: settings", mininterval=5)
    ]
    highest, chosen = max(tried, key=lambda one: one[0])
    return chosen, highest


def tuned(
    split: Split, seed: int, grid: Sequence[Mapping[str, Any]], fit: Fit, name: str
) -> tuple[Scorer, Mapping[str, Any]]:
    """(scorer fitted on `split.known` with the best settings, these settings with their validation NDCG@10)."""
    chosen, highest = best_settings(split, seed, grid, fit, name)
    return fit(split.known, **chosen), {**chosen, "validation_ndcg@10": round(highest, 5)}
