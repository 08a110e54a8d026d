"""Which rankings of the log off-policy evaluation uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from services.ranker.domain.impressions import Impressions
from services.ranker.domain.stored_ranking import Interleaving, StoredRanking
from tests.unit.ranker.rankings import made_ranking
from training.evaluation.logged_rankings import logged_rankings

DAY_S = 86_400.0


def whole(ranking: StoredRanking) -> Impressions:
    return Impressions(ranking, (1, 2, 3), 0.0)


def test_interleaved_rankings_are_left_out() -> None:
    """Two policies made their order: the propensities of neither are theirs."""
    usual = [made_ranking("a", "b", "c", ranking=f"r{number}") for number in range(3)]
    drafted = replace(usual[0], ranking_id="i", policy=None, interleaving=Interleaving("e", ("x", "y"), [1, 2, 0]))
    every = [whole(one) for one in (*usual, drafted)]
    found = logged_rankings(every, every, [], now_s=10 * DAY_S, window_s=DAY_S)
    assert len(found.shares) == 3
    assert found.omitted == Counter({"interleaved: two policies made its order": 1})
