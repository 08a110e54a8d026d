"""The soft filter: applied if it leaves enough answers, else a boost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.domain.legs import ScoredKeys
from services.retrieval.domain.soft_filter import apply_soft_filter


def scored(cosines: Mapping[int, float], lexical: Mapping[int, float] | None = None) -> ScoredKeys:
    """Ordered by the cosine, or by the lexical score if there is no dense leg."""
    by = lexical if lexical is not None else cosines
    keys = sorted(by, key=lambda key: -by[key])
    scores, dense, words = (
        np.array([column.get(key, 0.0) for key in keys], np.float32) for column in (by, cosines, lexical or {})
    )
    return ScoredKeys(np.array(keys, np.uint64), scores, dense, words, np.zeros(len(keys), np.float32), len(keys))


ALL = {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.5, 5: 0.3}


def test_enough_answers_apply_it() -> None:
    """Enough matching products near the query: the candidates are the matching ones."""
    matching = scored({1: 0.9, 2: 0.8, 6: 0.1})
    found, applied = apply_soft_filter(matching, scored(ALL), 2, is_only_price=False)
    assert applied
    assert found is matching


def test_far_products_are_no_answers() -> None:
    """Matching products below 0.85 of the usual cosine do not count: the filter becomes a boost."""
    matching = scored({1: 0.9, 5: 0.3, 6: 0.1})
    found, applied = apply_soft_filter(matching, scored(ALL), 2, is_only_price=False)
    assert not applied
    assert found.keys.tolist() == [1, 2, 3, 4, 5]


def test_a_price_is_a_limit() -> None:
    """Of a filter by price alone every matching product counts, however far it is."""
    matching = scored({5: 0.3, 6: 0.1})
    found, applied = apply_soft_filter(matching, scored(ALL), 2, is_only_price=True)
    assert applied
    assert found is matching


def test_without_a_dense_leg() -> None:
    """Without cosines nearness is measured by BM25 scores."""
    everything = scored({}, {1: 10.0, 2: 9.0, 3: 2.0})
    matching = scored({}, {2: 9.0, 3: 2.0})
    assert apply_soft_filter(matching, everything, 1, is_only_price=False)[1]
    assert not apply_soft_filter(matching, everything, 2, is_only_price=False)[1]


@given(st.sets(st.integers(1, 8)), st.booleans())
def test_a_boost_keeps_the_candidates(matching: set[int], is_only_price: bool) -> None:
    """A boost adds half the spread of the scores to matching candidates; nothing comes in and nothing goes."""
    everything = scored(ALL)
    needed = len(ALL) + len(matching) + 1
    found, applied = apply_soft_filter(
        scored(dict.fromkeys(matching, 0.95)), everything, needed, is_only_price=is_only_price
    )
    assert not applied
    after = dict(zip(found.keys.tolist(), found.scores.tolist(), strict=True))
    assert after == pytest.approx({key: score + 0.3 * (key in matching) for key, score in ALL.items()})
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.dense_scores.tolist() == pytest.approx([ALL[key] for key in found.keys.tolist()])


def test_nothing_found() -> None:
    """No candidates stay none."""
    found, applied = apply_soft_filter(ScoredKeys.none(), ScoredKeys.none(), 1, is_only_price=False)
    assert (len(found), applied) == (0, False)
