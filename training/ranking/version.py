"""What serves with a version of the ranking stage, trees or network, as an opponent of other versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from services.common.arrays import FloatArray
from services.common.models.registry import ModelRegistry
from services.ranker.adapters.shopper_version import fitted_weights
from services.ranker.adapters.trees_ranker import KIND
from services.ranker.adapters.version_manifest import MANIFEST
from services.ranker.domain.weights import ServingWeights, Weights
from training.ranking.examples import KINDS, SEARCH, TASKS, Examples
from training.ranking.guardrail import Predictor
from training.ranking.scoring_function import Doubles, ScoringFunction
from training.ranking.trees import Trees


def weights_by_kind(shoppers: ModelRegistry, weights: ServingWeights) -> dict[str, Weights]:
    """Of the weighted sum that serves, for persons whom the current shopper model knows."""
    version = shoppers.rollout().current
    fitted = fitted_weights(Path(shoppers.path(version))) if version else None
    return {kind: weights.of(kind == SEARCH, fitted) for kind in KINDS}


def is_trees(folder: Path) -> bool:
    return bool(json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("kind") == KIND)


def predictor_of(
    folder: Path | None, vector_version: str, weights: Mapping[str, Weights], fitted_to: Examples
) -> Predictor:
    """The version in `folder` on pages with vectors of `vector_version`; None: no version serves.

    Where the version does not answer, the weighted sum does, with `weights` by kind of page, and curves that are fitted
    to `fitted_to`. Raises ValueError for a version that was trained on other features.
    """
    if folder is not None and not is_trees(folder):
        # Imported here: it imports torch, which trees do not need.
        from training.ranking.learnable import LearnableRanker

        network = LearnableRanker.load(folder)
        if network.vector_version == vector_version:
            return network
        folder = None
    return predictor_with(None if folder is None else Trees.load(folder), weights, fitted_to)


def predictor_with(trees: Trees | None, weights: Mapping[str, Weights], fitted_to: Examples) -> Predictor:
    """As `predictor_of`, of the trees; None: the weighted sum alone."""
    of_kind: dict[str, Predictor] = {}
    for kind in KINDS:
        pages = fitted_to.of_kind(kind)
        if trees is None or kind not in trees.serves:
            of_kind[kind] = ScoringFunction.of_weights(weights[kind], pages)
        elif kind in trees.curves:
            of_kind[kind] = trees
        else:
            of_kind[kind] = ScoringFunction(trees.order, pages)
    return ByKind(of_kind)


class ByKind:
    """A predictor for each kind of page."""

    def __init__(self, of_kind: Mapping[str, Predictor]) -> None:
        self._of_kind = of_kind
        self.predicts = all(predictor.predicts for predictor in of_kind.values())

    def order(self, examples: Examples) -> Doubles:
        found, kinds = np.zeros(len(examples)), examples.kinds[examples.page]
        for kind, predictor in self._of_kind.items():
            found[kinds == kind] = predictor.order(examples.of_kind(kind))
        return found

    def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]:
        found = {task: np.zeros(len(examples), np.float32) for task in TASKS}
        kinds = examples.kinds[examples.page]
        for kind, predictor in self._of_kind.items():
            own = predictor.predict_as_shown(examples.of_kind(kind))
            for task in TASKS:
                found[task][kinds == kind] = own[task]
        return found
