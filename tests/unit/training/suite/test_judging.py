"""The verdicts on a version of the shopper model: against popularity, the current version, and on the old sample."""

from __future__ import annotations

import numpy as np
import pytest

from training.ranking.split import is_held_back
from training.suite.cases import Case, held_back_share
from training.suite.judging import (
    LEAST_CASES,
    MARGIN,
    Measured,
    Popularity,
    against_current,
    against_popularity,
    measured,
    on_old_sample,
)

METRICS = ("ndcg", "ndcg@10", "hit@10")


def values(*parts: tuple[int, float]) -> Measured:
    """For each part so many cases with this value, each of a person of its own."""
    column = np.concatenate([np.full(count, value) for count, value in parts])
    return Measured([f"u:{row}" for row in range(len(column))], dict.fromkeys(METRICS, column))


def case(row: int, *groups: str, item: str = "a", known: frozenset[str] = frozenset()) -> Case:
    return Case(f"u:{row}", (), known, item, 0.0, groups)


def test_a_first_version_must_beat_popularity() -> None:
    """Equal is not better, and too few cases pass nothing."""
    assert against_popularity(values((50, 0.2)), values((50, 0.3))).passed
    assert not against_popularity(values((50, 0.2)), values((50, 0.2))).passed
    few = against_popularity(values((LEAST_CASES - 1, 0.2)), values((LEAST_CASES - 1, 0.9)))
    assert (few.passed, few.changes) == (False, {})
    assert str(LEAST_CASES) in few.reason


@pytest.mark.parametrize(("change", "passes"), [(0.1, True), (-MARGIN / 2, True), (-2 * MARGIN, False)])
def test_a_later_version_may_lose_the_margin(change: float, passes: bool) -> None:
    verdict = against_current(values((200, 0.5)), values((200, 0.5 * (1 + change))))
    assert verdict.passed is passes
    assert verdict.changes["ndcg"].relative == pytest.approx(change)


def test_a_loss_in_one_group_of_the_old_sample_refuses() -> None:
    """The mean of all is better; the group that lost is named. A small group is not judged by itself."""
    cases = [case(row, "category shoes" if row < 60 else "category lamps") for row in range(300)]
    current, version = values((300, 0.5)), values((60, 0.4), (240, 0.6))
    verdict = on_old_sample(current, version, cases)
    assert not verdict.passed
    assert verdict.reason.endswith("category shoes")
    assert verdict.changes["all"].relative > 0

    small = [case(row, "category shoes" if row < 10 else "category lamps") for row in range(300)]
    assert on_old_sample(current, values((10, 0.4), (290, 0.6)), small).passed
    assert on_old_sample(current, current, cases).passed


def test_ranks_are_among_new_items() -> None:
    """Known items are left out, ties count half, and an item that the scorer does not have is last."""
    scorer = Popularity(["a", "b", "c", "d"], np.array([1, 5, 5, 9]))
    found = measured(scorer, [case(0, item="b", known=frozenset("d")), case(1, item="x"), case(2, item="d")])
    expected = 1 / np.log2(np.array([1.5, 5.0, 1.0]) + 1)
    np.testing.assert_allclose(found.values["ndcg"], expected)


def test_the_held_back_share_is_bounded() -> None:
    """Always the same persons for a share, and a smaller share holds back a part of them."""
    assert [held_back_share(persons) for persons in (10, 2_000, 10**6)] == [0.1, 0.05, 0.02]
    persons = [f"u:{row}" for row in range(2_000)]
    some, fewer = ({who for who in persons if is_held_back(who, share)} for share in (0.1, 0.02))
    assert fewer < some
    assert 150 < len(some) < 250
