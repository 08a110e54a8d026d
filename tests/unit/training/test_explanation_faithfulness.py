"""On searches of the demo shop the removal test accepts the ranker's explanations and rejects wrong ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest

from services.ranker.adapters.onnx_ranker import OnnxRanker
from services.ranker.domain.explanation import Explanation, explain
from services.ranker.domain.objective import Objective
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.scores import Ranker
from services.ranker.domain.weighted_sum import weighted_sum
from tests.unit.ranker.requests import WEIGHTS
from tests.unit.training.shop_requests import CANDIDATES, DIMENSIONS, MODEL, shop_requests
from training.explanations.faithfulness import (
    OF_GROUPS,
    OF_INTERACTIONS,
    REMOVABLE,
    Difference,
    Explained,
    Removal,
    difference,
    without_group,
)
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

WEIGHTED: Ranker = partial(weighted_sum, weights=WEIGHTS)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    """An untrained network: its explanations must be faithful as well. It orders every candidate: an explanation says
    nothing of what puts one behind those that are reranked.
    """
    folder = tmp_path_factory.mktemp("network") / "1"
    made = LearnableRanker(NetworkSettings(dimensions=DIMENSIONS), vector_version=MODEL, seed=3)
    made.reranked = CANDIDATES
    made.save(folder)
    return OnnxRanker(folder, lambda: Objective(1, 3, 6, 0.5), WEIGHTED, WEIGHTED)


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


@pytest.mark.parametrize("removal", [OF_GROUPS, OF_INTERACTIONS], ids=["groups", "interactions"])
@pytest.mark.parametrize("name", ["weighted sum", "network"])
def test_faithful(name: str, removal: Removal, network: Ranker) -> None:
    """The removal of the most important input changes the score more than the removal of a random one."""
    found = checked(removal, WEIGHTED if name == "weighted sum" else network)
    assert found.low > 0
    assert found.requests >= 15


def smallest_group(explanation: Explanation) -> ReasonType:
    return min(REMOVABLE, key=lambda group: abs(explanation.contributions[group]))


def test_the_opposite_is_rejected() -> None:
    """An explanation that calls the least important group the most important one does worse than a random one."""
    found = checked(replace(OF_GROUPS, named=smallest_group), WEIGHTED)
    assert found.high < 0


def test_random_explanations_are_rejected() -> None:
    """Randomly named groups do no better than the random removal: the interval contains 0."""
    random = Random(2)
    found = checked(replace(OF_GROUPS, named=lambda _: random.choice(REMOVABLE)), WEIGHTED)
    assert found.low < 0 < found.high


@pytest.mark.parametrize("group", REMOVABLE)
def test_a_removed_group_has_no_effect(group: ReasonType) -> None:
    """Without a group its part of the weighted sum is equal for all items, and the other parts are unchanged."""
    request = shop_requests()[0]
    before, after = WEIGHTED(request), WEIGHTED(without_group(request, group))
    by_category = group is ReasonType.PRICE_AFFINITY
    assert by_category or np.ptp(after.parts[group]) == 0
    for other in set(before.parts) - {group}:
        np.testing.assert_array_equal(before.parts[other], after.parts[other])
