"""Exposure of groups against their merit, and the offsets that make it follow."""

from __future__ import annotations

import numpy as np
import pytest

from services.common.serving_configuration import MAX_FACTOR_WEIGHT
from training.evaluation.fairness import (
    GroupedLists,
    deserved,
    exposure_of,
    fit_offsets,
    gap_of,
    gini,
    ndcg_of,
    places,
)


def favoured(lists: int = 200, count: int = 20, bonus: float = 0.15) -> GroupedLists:
    """Scores are merits with noise, and a bonus for the first of three groups."""
    random = np.random.default_rng(1)
    groups, merits = random.integers(0, 3, lists * count), random.uniform(size=lists * count)
    scores = merits + random.normal(0, 0.05, lists * count) + bonus * (groups == 0)
    of = np.repeat(np.arange(lists), count)
    return GroupedLists(of, groups, ["a", "b", "c"], scores, np.zeros(lists * count, np.int64), merits)


def test_products_of_equal_merit_share_their_places() -> None:
    """In one list of four: the best gets the first place, two share the next two, the last the fourth."""
    due = deserved(np.zeros(4, np.int64), np.array([0.2, 0.9, 0.2, 0.1]))
    first, second, third, fourth = exposure_of(np.arange(1, 5))
    assert due == pytest.approx([(second + third) / 2, first, (second + third) / 2, fourth])


def test_order_by_merit_has_no_gap() -> None:
    """And the favour of a group makes one."""
    fair = favoured()
    by_merit = GroupedLists(fair.lists, fair.groups, fair.names, fair.merits, fair.tiers, fair.merits)
    assert gap_of(by_merit) == pytest.approx(0, abs=1e-12)
    assert ndcg_of(by_merit) == pytest.approx(1)
    assert gap_of(fair) > 0.05


def test_the_gap_is_closed_by_the_least_offsets() -> None:
    """The favoured group is lowered within the bound; lists that were not fitted profit too, and the order becomes
    better, since the favour was wrong.
    """
    grouped = favoured().scaled()
    is_fitted = np.arange(grouped.count) % 2 == 0
    fitted, held = fit_offsets(grouped.take(is_fitted), 0.8), grouped.take(~is_fitted)
    assert fitted.gap_after <= 0.3 * fitted.gap_before
    assert fitted.offsets[0] < 0 < min(fitted.offsets[1:])
    assert np.abs(fitted.offsets).max() <= MAX_FACTOR_WEIGHT
    assert gap_of(held, fitted.offsets) < 0.4 * gap_of(held)
    assert fitted.ndcg_after > fitted.ndcg_before
    assert ndcg_of(held, fitted.offsets).mean() > ndcg_of(held).mean()


def test_offsets_stay_within_tiers() -> None:
    """A product of the second tier does not come before one of the first, whatever its group gains."""
    tiers = np.array([1, 1, 2])
    grouped = GroupedLists(
        np.zeros(3, np.int64), np.array([0, 0, 1]), ["a", "b"], np.array([0.1, 0.2, 1.0]), tiers, np.ones(3)
    )
    assert places(grouped, np.array([0.0, 0.3])).tolist() == [2, 1, 3]


def test_gini() -> None:
    """0 where all have the same, near 1 where one has all."""
    assert gini(np.ones(10)) == pytest.approx(0)
    assert gini(np.eye(1, 100)[0]) == pytest.approx(0.99)
