"""Boosted trees give LightGBM's own scores, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from services.ranker.adapters.boosted_trees import BoostedTrees
from services.ranker.domain.features import CANDIDATE_NUMBERS
from tests.unit.ranker.trees_folders import fitted


def saved(booster: lightgbm.Booster, folder: Path) -> Path:
    booster.save_model(folder / "order.txt")
    return folder / "order.txt"


@pytest.mark.parametrize("leaves", [2, 7, 8, 9, 16, 17, 31, 64])
def test_the_score_is_that_of_lightgbm(leaves: int, tmp_path: Path) -> None:
    """For random rows, constant columns and values that equal a threshold."""
    booster = fitted(num_leaves=leaves)
    trees, random = BoostedTrees(saved(booster, tmp_path)), np.random.default_rng(1)
    rows = random.uniform(-2, 4, (300, trees.features)).astype(np.float32)
    rows[:, 3], rows[:100, 4] = 0.5, 0
    thresholds = [float(t) for line in booster.model_to_string().splitlines() if line.startswith("threshold=")
                  for t in line.partition("=")[2].split()]  # fmt: skip
    rows[200:] = random.choice(np.array(thresholds, np.float32), (100, trees.features))
    for some in (rows, rows[:1], rows[:0]):
        expected = booster.predict(some, raw_score=True) if len(some) else []
        np.testing.assert_allclose(trees(some), expected, rtol=1e-9, atol=1e-9)


def test_thresholds_are_no_float32(tmp_path: Path) -> None:
    """A value just above a threshold, which equals it in 32 bits, goes to the right."""
    booster = lightgbm.train(
        {"objective": "regression", "min_data_in_leaf": 1, "min_data_in_bin": 1, "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(np.repeat([[0.1], [0.1 + 2e-9]], 50, axis=0), np.repeat([0.0, 1.0], 50)), 5,
    )  # fmt: skip
    rows = np.array([[0.1]], np.float32)
    np.testing.assert_allclose(BoostedTrees(saved(booster, tmp_path))(rows), booster.predict(rows), rtol=1e-9)


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path) -> None:
    """More leaves than bits, several outputs, categories, zero as missing, and files that are no booster."""
    random = np.random.default_rng(0)
    rows, labels = random.integers(0, 5, (500, 3)).astype(float), random.integers(0, 3, 500)
    unknown: dict[str, dict[str, Any]] = {
        "output": {"objective": "multiclass", "num_class": 3},
        "zero as missing": {"objective": "regression", "zero_as_missing": True},
        "sum is one score": {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        "categories": {"objective": "regression", "categorical_feature": [0]},
    }
    for message, settings in unknown.items():
        booster = lightgbm.train({"verbose": -1, "num_threads": 1} | settings, lightgbm.Dataset(rows, labels), 2)
        with pytest.raises(ValueError, match=message):
            BoostedTrees(saved(booster, tmp_path))
    with pytest.raises(ValueError, match="at most 64"):
        BoostedTrees(saved(fitted(num_leaves=65), tmp_path))
    (tmp_path / "order.txt").write_text("{}")
    with pytest.raises(ValueError, match="no trees"):
        BoostedTrees(tmp_path / "order.txt")


def test_a_tree_without_splits(tmp_path: Path) -> None:
    """Trees that found nothing to split on give their constant."""
    rows = np.zeros((100, len(CANDIDATE_NUMBERS)))
    booster = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(rows, np.ones(100)), 2)
    asked = np.ones((3, len(CANDIDATE_NUMBERS)), np.float32)
    np.testing.assert_allclose(BoostedTrees(saved(booster, tmp_path))(asked), booster.predict(asked))
