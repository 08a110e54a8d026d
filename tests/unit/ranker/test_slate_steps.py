"""The steps of a slate explain each item's change of position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.ranker.domain.interests import Interests
from services.ranker.domain.profile import Profile
from services.ranker.domain.slate.fatigue import fatigued
from services.ranker.domain.slate.options import SlateOptions
from services.ranker.domain.slate.placements import SIMILARITY_COST, placements
from services.ranker.domain.slate.slate import Slate, make_slate
from tests.unit.ranker.requests import drawn

NOBODY = Profile((), np.zeros((0, 8), np.float32), np.zeros(0, np.float32))


def slated(seen: dict[str, int] | None = None, **fields: object) -> Slate:
    """Thirty candidates, the first one the best, for a user with impressions and no other history."""
    request = drawn(1, count=30)
    in_stock = np.full(30, 5, np.float32)
    nobody = replace(NOBODY, shown_without_click=seen or {})
    request = replace(request, stocks=in_stock, profile=nobody, shopper_scores=None, neighbour_scores=None)
    request = replace(request, **fields)  # type: ignore[arg-type]
    return make_slate(request, np.linspace(1, 0, 30, dtype=np.float32))


def test_fatigue() -> None:
    """Four impressions without a click cost half of the maximum; the position by score alone is reported."""
    steps = slated({"i0": 4}, brands=[""] * 30).steps(0)
    assert (steps.shown_without_click_count, steps.score_position) == (4, 1)
    assert steps.fatigue_cost == pytest.approx(0.1)
    assert slated().steps(0).fatigue_cost == 0


def test_brand_cap() -> None:
    """If one brand leads, its sixth item is skipped until the window has moved on."""
    slate = slated(brands=["A"] * 6 + [f"B{n}" for n in range(24)], vectors=np.eye(30, dtype=np.float32))
    assert [row for row in slate.order[:10] if row < 6] == [0, 1, 2, 3, 4]
    assert slate.order[10] == 5
    assert slate.steps(5).brand_capped_places == 5
    assert slate.steps(0).brand_capped_places == 0


def test_similarity() -> None:
    """An item equal to a higher-placed one has the maximum similarity cost; the first position has none."""
    vectors = np.eye(30, dtype=np.float32)
    vectors[1] = vectors[0]
    slate = slated(vectors=vectors, brands=[""] * 30)
    assert slate.steps(1).similarity_cost == pytest.approx(SIMILARITY_COST)
    assert slate.steps(0).similarity_cost == 0


def test_interest() -> None:
    """The steps of a placed item name the share of its interest."""
    request = drawn(2, count=30)
    options = SlateOptions(share_interests=True)
    slate = make_slate(request, np.linspace(1, 0, 30, dtype=np.float32), options)
    shares = [slate.steps(row).interest_share for row in slate.order]
    assert set(np.round(shares, 6)) <= set(np.round(slate.shares, 6))
    assert sum(slate.shares) == pytest.approx(1)
    assert slated().steps(0).interest_share == 0


def test_a_cap_on_every_row_is_ignored() -> None:
    """If all rows belong to capped brands, the cap does not apply and no row is skipped."""
    scores = fatigued(np.linspace(1, 0, 6, dtype=np.float32), [0] * 6)
    placed = list(placements(scores, np.eye(6, dtype=np.float32), ["A"] * 6, Interests.none(6)))
    assert [p.capped for p in placed] == [None] * 6


def test_out_of_stock_is_behind_in_stock() -> None:
    """Items out of stock come after all others, also those of unknown stock."""
    stocks = np.array([0, 0, -1, 3, 0] * 6, np.float32)
    slate = slated(stocks=stocks, brands=[""] * 30)
    assert sorted(slate.order) == list(range(30))
    assert [bool(stocks[row] == 0) for row in slate.order] == [False] * 12 + [True] * 18
