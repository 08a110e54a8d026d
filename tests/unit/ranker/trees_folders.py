"""Small versions of boosted trees on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION

EVERYTHING = ("search", "person", "product")
CURVES = {"person": {"click": (-2.0, 0.5), "purchase": (-4.0, 0.5)}}


def fitted(seed: int = 0, likes: Mapping[str, float] | None = None, **settings: Any) -> lightgbm.Booster:
    """Fitted to the product of random rows with weights, the given ones and 0 for other features; without any, every
    feature counts, and only being out of stock is bad.
    """
    random = np.random.default_rng(seed)
    rows = random.uniform(-1, 3, (4_000, len(CANDIDATE_NUMBERS)))
    weights = random.uniform(0.5, 1.5, len(CANDIDATE_NUMBERS))
    weights[CANDIDATE_NUMBERS.index("out_of_stock")] *= -1
    if likes is not None:
        weights = np.array([likes.get(name, 0.0) for name in CANDIDATE_NUMBERS])
    chosen = {"objective": "regression", "num_leaves": 15, "num_threads": 1, "verbose": -1} | settings
    return lightgbm.train(chosen, lightgbm.Dataset(rows, rows @ weights), 60)


def write_trees(
    folder: Path,
    seed: int = 0,
    serves: Sequence[str] = EVERYTHING,
    likes: Mapping[str, float] | None = None,
    features_version: int = FEATURES_VERSION,
    reranked: int = 120,
) -> None:
    """What an item out of stock loses is 2."""
    about = {
        "kind": "trees", "features_version": features_version, "features": CANDIDATE_NUMBERS,
        "lists": dict.fromkeys(serves, 100), "serves": serves, "spread": 2.0, "curves": CURVES,
        "reranked": reranked,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(about), "utf-8")
    fitted(seed, likes).save_model(folder / "order.txt")
