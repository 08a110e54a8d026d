"""Which variant of an item group is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.collapse import VariantPreference, best_variants


def kept(groups: Sequence[str], scores: Sequence[float], **preferred: Sequence[Any]) -> list[int]:
    count = len(groups)
    preference = VariantPreference(
        groups,
        np.array(preferred.get("is_explained", [False] * count), bool),
        np.array(preferred.get("has_identifier", [False] * count), bool),
        np.array(preferred.get("tiers", [0] * count), np.int64),
        np.array(preferred.get("match_counts", [0] * count), np.int64),
        np.array(preferred.get("is_in_stock", [True] * count), bool),
    )
    return best_variants(preference, np.array(scores, np.float32))


def test_the_best_score_of_each_group_is_kept() -> None:
    assert kept(["shoe", "shoe", "hat", "shoe"], [0.1, 0.9, 0.2, 0.5]) == [1, 2]


def test_a_variant_in_stock_is_kept_before_a_better_one_that_is_sold_out() -> None:
    assert kept(["shoe", "shoe"], [0.9, 0.1], is_in_stock=[False, True]) == [1]


def test_the_variant_that_the_words_name_is_kept_even_if_it_is_sold_out() -> None:
    assert kept(["shoe", "shoe"], [0.1, 0.9], match_counts=[2, 1], is_in_stock=[False, True]) == [0]


def test_a_variant_of_a_lower_tier_is_kept_before_one_with_more_words() -> None:
    assert kept(["shoe", "shoe"], [0.1, 0.9], tiers=[0, 2], match_counts=[1, 2]) == [0]


def test_the_variant_whose_identifier_was_typed_is_kept_before_all_others() -> None:
    assert kept(["shoe", "shoe"], [0.1, 0.9], has_identifier=[True, False], match_counts=[0, 3]) == [0]


def test_a_variant_that_is_explained_is_kept() -> None:
    assert kept(["shoe", "shoe"], [0.1, 0.9], is_explained=[True, False], has_identifier=[False, True]) == [0]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-1, 1)), min_size=1, max_size=40))
def test_each_group_is_kept_once_in_the_order_of_the_rows(candidates: list[tuple[str, float]]) -> None:
    groups = [group for group, _ in candidates]
    rows = kept(groups, [score for _, score in candidates])
    assert rows == sorted(rows)
    assert sorted(groups[row] for row in rows) == sorted(set(groups))
