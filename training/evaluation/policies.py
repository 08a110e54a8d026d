"""The scores by which a policy orders logged candidates: a version of the ranking stage, or a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.weights import Weights
from training.evaluation.estimates import Doubles, Integers
from training.ranking.examples import KINDS, Examples
from training.ranking.scoring_function import weight_columns
from training.ranking.trees import Trees, best_of_lists
from training.ranking.version import is_trees

# Baselines by name, with the candidate features whose sum orders (services/ranker/domain/baselines.py).
BASELINES: Mapping[str, Sequence[str]] = {"popularity": ("popularity",), "retrieval": ("query_match", "type_match")}
_OUT_OF_STOCK = CANDIDATE_NUMBERS.index("out_of_stock")


def baseline_scores(name: str, examples: Examples) -> Doubles:
    columns = [CANDIDATE_NUMBERS.index(feature) for feature in BASELINES[name]]
    return np.asarray(examples.numbers[:, columns].sum(axis=1), np.float64)


def needs_vectors(folder: Path | None) -> bool:
    """Whether the version reads the products' vectors. None: the weighted sum."""
    return folder is not None and not is_trees(folder)


def version_scores(
    folder: Path | None, examples: Examples, vector_version: str, weights: Mapping[str, Weights]
) -> Doubles:
    """[n] of the candidates of the lists, as the version serves them. None: the weighted sum, with `weights` by kind.

    Raises ValueError for a version of other features, or a network of other vectors.
    """
    first = _weighted(examples, weights)
    if folder is None:
        return first
    if is_trees(folder):
        trees = Trees.load(folder)
        found = first.copy()
        for kind in trees.serves:
            rows = examples.kinds[examples.page] == kind
            if rows.any():
                numbers = examples.numbers[rows]
                lists = np.unique(examples.page[rows], return_inverse=True)[1].astype(np.int64)
                scores = trees.order_of_lists(lists, first[rows], numbers)
                found[rows] = scores - trees.spread * numbers[:, _OUT_OF_STOCK]
        return found
    # Imported here: it imports torch, which trees do not need.
    from training.ranking.learnable import LearnableRanker

    network = LearnableRanker.load(folder)
    if network.vector_version != vector_version:
        raise ValueError(
            f"the version reads vectors of {network.vector_version!r}, and the log has those of {vector_version!r}"
        )
    return _reranked(examples.page, first, np.asarray(network.order(examples), np.float64), network.reranked)


def _weighted(examples: Examples, weights: Mapping[str, Weights]) -> Doubles:
    columns = np.stack([weight_columns(weights[kind]) for kind in KINDS])
    rows = np.array([KINDS.index(kind) for kind in examples.kinds.tolist()], np.int64)[examples.page]
    return np.asarray((examples.numbers * columns[rows]).sum(1), np.float64)


def _reranked(lists: Integers, first: Doubles, scores: Doubles, most: int) -> Doubles:
    """[n]: the best `most` of each list by `first` get `scores`, the others stay behind them in their order."""
    best = best_of_lists(lists, first, most)
    found: Doubles = np.where(best, scores - scores.min(initial=0.0) + 1.0, first - first.max(initial=0.0))
    return found
