"""On searches of the demo shop an explanation is true of the ranker, and a false one is found out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest

from benchmarks.explanation_faithfulness import (
    OF_ACTS,
    OF_GROUPS,
    REMOVABLE,
    Difference,
    Explained,
    Removal,
    difference,
    without_group,
)
from services.ranker.adapters.onnx_ranker import OnnxRanker
from services.ranker.domain.explanation import Explanation, explain
from services.ranker.domain.objective import Objective
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.scores import Ranker
from services.ranker.domain.weighted_sum import weighted_sum
from tests.unit.benchmarks.shop_requests import DIMENSIONS, MODEL, shop_requests
from tests.unit.ranker.requests import WEIGHTS
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

WEIGHTED: Ranker = partial(weighted_sum, weights=WEIGHTS)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    """Untrained: what is told of it has to be true all the same."""
    folder = tmp_path_factory.mktemp("network") / "1"
    LearnableRanker(NetworkSettings(dimensions=DIMENSIONS), vector_version=MODEL, seed=3).save(folder)
    return OnnxRanker(folder, lambda: Objective(1, 3, 6, 0.5), WEIGHTED)


def explained(ranker: Ranker) -> list[Explained]:
    """The first five places of each search."""
    found = list[Explained]()
    for request in shop_requests():
        scores = ranker(request)
        rows = np.argsort(-scores.total, kind="stable")[:5].tolist()
        found.append((request, explain(request, scores, rows)))
    return found


def checked(removal: Removal, ranker: Ranker) -> Difference:
    return difference(removal, ranker, explained(ranker), Random(1))


@pytest.mark.parametrize("removal", [OF_GROUPS, OF_ACTS], ids=["groups", "acts"])
@pytest.mark.parametrize("name", ["weighted sum", "network"])
def test_faithful(name: str, removal: Removal, network: Ranker) -> None:
    """Without what is called most important the score changes more than without something drawn by lot."""
    found = checked(removal, WEIGHTED if name == "weighted sum" else network)
    assert found.low > 0
    assert found.requests >= 15


def quietest_group(told: Explanation) -> ReasonType:
    return min(REMOVABLE, key=lambda group: abs(told.contributions[group]))


def test_the_opposite_is_found_out() -> None:
    """An explanation that calls the least important group the most important one does worse than the lot."""
    found = checked(replace(OF_GROUPS, named=quietest_group), WEIGHTED)
    assert found.high < 0


def test_guesses_are_found_out() -> None:
    """Groups named by lot, whatever the item, are no better than the lot: the interval holds 0."""
    random = Random(2)
    found = checked(replace(OF_GROUPS, named=lambda told: random.choice(REMOVABLE)), WEIGHTED)
    assert found.low < 0 < found.high


@pytest.mark.parametrize("group", REMOVABLE)
def test_what_is_taken_out_is_gone(group: ReasonType) -> None:
    """Without a group the weighted sum has nothing of it left that tells two items apart, and all else as it was."""
    request = shop_requests()[0]
    before, after = WEIGHTED(request), WEIGHTED(without_group(request, group))
    by_category = group is ReasonType.PRICE_AFFINITY
    assert by_category or np.ptp(after.parts[group]) == 0
    for other in set(before.parts) - {group}:
        np.testing.assert_array_equal(before.parts[other], after.parts[other])
