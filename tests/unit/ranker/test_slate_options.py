"""Options of a slate: diversity, brand cap, and bounded factors of the shop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.ranker.convert import order_of
from services.ranker.convert_options import score_offsets, slate_options
from services.ranker.domain.interests import Interests
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.scores import Scores
from services.ranker.domain.slate.options import MAX_FACTOR_WEIGHT, SlateOptions, shop_factors
from services.ranker.domain.slate.placements import placements
from services.ranker.domain.slate.slate import make_slate

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
NOBODY = Profile((), np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


def request(prices: list[float], costs: list[float], ages_days: list[float]) -> RankingRequest:
    count = len(prices)
    return RankingRequest(
        [f"i{n}" for n in range(count)], np.ones(count, np.float32), np.zeros((count, 2), np.float32),
        np.array(prices, np.float32), np.full(count, -1, np.float32), np.zeros(count, np.float32), None, NOBODY,
        [""] * count, [""] * count, now_s=NOW_S, costs=np.array(costs, np.float64),
        created_s=np.array([NOW_S - age * DAY_S if age >= 0 else 0 for age in ages_days]),
    )  # fmt: skip


def test_factors_are_bounded_by_their_weights() -> None:
    """A margin counts as its share of the price; a new product counts fully, after 30 days half."""
    asked = request([10, 10, 10, np.nan], [4, 12, np.nan, 1], [0, 30, -1, 60])
    options = SlateOptions(margin_weight=0.2, freshness_weight=0.3)
    assert shop_factors(asked, options) == pytest.approx([0.2 * 0.6 + 0.3, 0.15, 0.0, 0.075], abs=1e-6)


def test_a_margin_moves_equals_only_as_far_as_its_weight() -> None:
    """Of products with equal scores the one with the higher margin is first; a clearly better one stays above it."""
    asked = request([10, 10, 10], [9, 2, 10], [-1, -1, -1])
    options = SlateOptions(margin_weight=MAX_FACTOR_WEIGHT)
    equal = make_slate(asked, np.array([0.5, 0.5, 0.5], np.float32), options)
    assert list(equal.order)[:2] == [1, 0]
    better = make_slate(asked, np.array([1.0, 0.4, 0.0], np.float32), options)
    assert better.order[0] == 0


def test_no_costs_and_no_dates_change_nothing() -> None:
    """Without the columns the factors add nothing."""
    asked = replace(request([10], [1], [0]), costs=None, created_s=None)
    assert shop_factors(asked, SlateOptions(margin_weight=0.3, freshness_weight=0.3)).tolist() == [0.0]


def test_diversity_and_brand_cap_are_as_asked() -> None:
    """Without diversity the order is that of the scores; a cap of one shows a brand once in ten places."""
    scores, vectors = np.array([1.0, 0.9, 0.8], np.float32), np.tile(np.array([[1, 0]], np.float32), (3, 1))
    vectors[2] = [0, 1]

    def order(options: SlateOptions) -> list[int]:
        return [place.row for place in placements(scores, vectors, ["A", "A", "B"], Interests.none(2), options)]

    assert order(SlateOptions(similarity_cost=0.0)) == [0, 1, 2]
    assert order(SlateOptions(similarity_cost=1.0)) == [0, 2, 1]
    assert order(SlateOptions(similarity_cost=0.0, brand_cap=1)) == [0, 2, 1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("diversity", 1.1),
        ("brand_cap", 11),
        ("brand_cap", -1),
        ("margin_weight", 0.31),
        ("freshness_weight", float("nan")),
    ],
)
def test_options_beyond_their_bounds_are_refused(field: str, value: float) -> None:
    """The error names the field."""
    message = ranker_pb2.RankItemsRequest(options=ranker_pb2.RankingOptions())
    setattr(message.options, field, value)
    with pytest.raises(InvalidArgument) as caught:
        slate_options(message)
    assert caught.value.violations[0].field == f"options.{field}"


def test_offsets_move_candidates_and_leave_their_scores() -> None:
    """In a search and in a slate: of scores that are scaled to [0, 1] over the candidates, 0.3 is worth 0.3."""
    asked = request([10.0] * 3, [np.nan] * 3, [-1] * 3)
    totals = np.array([3.0, 2.5, 1.0], np.float32)
    scores = Scores.sum_of({ReasonType.QUERY_MATCH: totals})
    moved = replace(asked, offsets=np.array([0.0, 0.3, 0.0], np.float32))
    assert list(order_of(asked, scores, None)) == [0, 1, 2]
    assert list(order_of(moved, scores, None)) == [1, 0, 2]
    slate = make_slate(moved, scores.total)
    assert list(slate.order) == [1, 0, 2]
    assert slate.scores.tolist() == totals.tolist()
    assert moved.take([1, 2]).offsets == pytest.approx([0.3, 0.0])


@pytest.mark.parametrize(("offsets", "named"), [([0.1], "1 for 2"), ([0.1, 0.31], "0.3"), ([0.1, float("nan")], "0.3")])
def test_bad_offsets(offsets: list[float], named: str) -> None:
    """The field is named, and what is wrong."""
    message = ranker_pb2.RankItemsRequest(options=ranker_pb2.RankingOptions(score_offsets=offsets))
    message.candidates.ids.extend(["a", "b"])
    with pytest.raises(InvalidArgument) as caught:
        score_offsets(message)
    (wrong,) = caught.value.violations
    assert wrong.field == "options.score_offsets"
    assert named in wrong.description
