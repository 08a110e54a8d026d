"""Fixed weights join what the legs found: by scores, by ranks, by distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.domain.fusion import FixedFusion
from services.retrieval.domain.legs import Leg, LegHits, Source

Method = Literal["linear", "rrf", "dbsf"]
METHODS: tuple[Method, ...] = ("linear", "rrf", "dbsf")


def fusion(method: Method = "linear") -> FixedFusion:
    return FixedFusion(method, dense_weight=0.25, lexical_weight=0.75, image_weight=1.0, rrf_k=60)


def hits(source: Source, scores: Mapping[int, float], share: float = 1.0, *, is_cut: bool = False) -> LegHits:
    """Best first, equal scores by key."""
    ordered = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    keys = np.array([key for key, _ in ordered], np.uint64)
    return LegHits(Leg(source, "", share), keys, np.array([score for _, score in ordered], np.float32), is_cut)


found_scores = st.dictionaries(st.integers(0, 30), st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.5, 8.0]), max_size=20)


def test_weighted_scores() -> None:
    """linear: each leg's scores are scaled to [0, 1], weighted and added; a leg that missed a product adds nothing."""
    dense = hits(Source.DENSE, {1: 0.8, 2: 0.4})
    lexical = hits(Source.LEXICAL, {2: 10.0, 3: 5.0})
    found = fusion().fuse([dense, lexical], None, 10)
    assert found.keys.tolist() == [2, 3, 1]
    assert found.scores.tolist() == pytest.approx([0.25 * 0.5 + 0.75, 0.75 * 0.5, 0.25])
    assert found.dense_scores.tolist() == pytest.approx([0.4, 0, 0.8])
    assert found.lexical_scores.tolist() == pytest.approx([10, 5, 0])
    assert found.found == 3


def test_the_scale_of_a_leg_that_was_cut() -> None:
    """linear: a leg that was cut scales from its last score, which then counts 0; without a spread it adds nothing."""
    lexical = hits(Source.LEXICAL, {1: 3.0})
    dense = hits(Source.DENSE, {1: 0.75, 2: 0.5, 3: 0.25}, is_cut=True)
    assert fusion().fuse([dense, lexical], None, 10).scores.tolist() == pytest.approx([1.0, 0.125, 0.0])
    even = hits(Source.DENSE, {2: 0.5, 3: 0.5}, is_cut=True)
    assert fusion().fuse([even, lexical], None, 10).scores.tolist() == pytest.approx([0.75, 0, 0])


def test_a_leg_of_which_nothing_meets_the_filter() -> None:
    """linear: it adds nothing, also if it was cut."""
    nothing = hits(Source.DENSE, {}, is_cut=True)
    found = fusion().fuse([nothing, hits(Source.LEXICAL, {1: 3.0})], None, 10)
    assert found.keys.tolist() == [1]


def test_reciprocal_ranks() -> None:
    """rrf: 1 / (rank / weight + k - 1) for each leg, as Qdrant computes it."""
    dense, lexical = hits(Source.DENSE, {1: 0.8, 2: 0.4}), hits(Source.LEXICAL, {2: 10.0})
    found = fusion("rrf").fuse([dense, lexical], None, 10)
    assert found.keys.tolist() == [2, 1]
    second = 1 / (2 / 0.25 + 59) + 1 / (1 / 0.75 + 59)
    assert found.scores.tolist() == pytest.approx([second, 1 / (1 / 0.25 + 59)])


def test_distributions() -> None:
    """dbsf: the mean of a leg counts a half, three standard deviations above it 1; a single hit counts a half."""
    dense, lexical = hits(Source.DENSE, {1: 0.9, 2: 0.6, 3: 0.3}), hits(Source.LEXICAL, {2: 7.0})
    found = fusion("dbsf").fuse([dense, lexical], None, 10)
    assert dict(zip(found.keys.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(
        {1: 0.5 + 1 / 6, 2: 1.0, 3: 0.5 - 1 / 6}
    )


def test_several_interests_go_by_ranks() -> None:
    """With several query vectors the second interest's best product is not behind the first one's tenth."""
    near = hits(Source.DENSE, {key: 0.9 - key / 100 for key in range(10)}, 0.5)
    far = hits(Source.DENSE, {20: 0.2, 21: 0.1}, 0.5)
    for method in METHODS:
        found = fusion(method).fuse([near, far], None, 10)
        assert set(found.keys[:2].tolist()) == {0, 20}


def test_one_leg_keeps_its_scores() -> None:
    """With one leg its own scores are the order and the score, whatever the method."""
    for method in METHODS:
        found = fusion(method).fuse([hits(Source.LEXICAL, {1: 3.0, 2: 9.0})], None, 10)
        assert (found.keys.tolist(), found.scores.tolist()) == ([2, 1], [9.0, 3.0])


def test_nothing_found() -> None:
    """Without legs, and with legs that found nothing, there are no candidates."""
    empty = [hits(Source.DENSE, {}), hits(Source.LEXICAL, {})]
    for method in METHODS:
        assert len(fusion(method).fuse([], None, 10)) == len(fusion(method).fuse(empty, None, 10)) == 0


@given(found_scores, found_scores, found_scores, st.sampled_from(METHODS), st.integers(1, 20))
def test_the_order(
    dense: dict[int, float], image: dict[int, float], lexical: dict[int, float], method: Method, limit: int
) -> None:
    """Each product once, best first, equal scores by key, cut at the limit, each source with its own score."""
    legs = [hits(Source.DENSE, dense), hits(Source.IMAGE, image), hits(Source.LEXICAL, lexical)]
    found = fusion(method).fuse(legs, None, limit)
    pairs = list(zip((-found.scores).tolist(), found.keys.tolist(), strict=True))
    assert pairs == sorted(pairs)
    assert found.found == len({*dense, *image, *lexical})
    assert len(set(found.keys.tolist())) == len(found) == min(limit, found.found)
    for scores, column in (
        (dense, found.dense_scores),
        (image, found.image_scores),
        (lexical, found.lexical_scores),
    ):
        assert column.tolist() == pytest.approx([scores.get(key, 0.0) for key in found.keys.tolist()])
