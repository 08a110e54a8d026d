"""A slate shares its positions among interests, separates similar items, and caps brands."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.interests import Interests
from services.ranker.domain.slate.brand_cap import BRAND_CAP, WINDOW
from services.ranker.domain.slate.fatigue import fatigued
from services.ranker.domain.slate.options import SlateOptions
from services.ranker.domain.slate.placements import PLACES, Placement, placements, whole_order

# Interests share the places, and similar items are spread.
MIXED = SlateOptions(similarity_cost=0.3, share_interests=True)


def slate(
    scores: np.ndarray, vectors: np.ndarray, brands: list[str], interests: Interests, options: SlateOptions = MIXED
) -> list[int]:
    return whole_order(scores, [placed.row for placed in placements(scores, vectors, brands, interests, options)])


NOBODY = Interests.none(2)
TWO = Interests(np.eye(2, dtype=np.float32), np.array([0.7, 0.3], np.float32))


def falling(count: int) -> np.ndarray:
    return np.linspace(1, 0, count, dtype=np.float32)


def test_interests_share_the_places() -> None:
    """Of ten positions each interest has its share, even if one interest's candidates score far higher."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    first = slate(falling(40), vectors, [""] * 40, TWO)[:10]
    assert Counter(int(row >= 20) for row in first) == {0: 7, 1: 3}


def test_by_default_scores_decide() -> None:
    """With default options interests share no places."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    assert slate(falling(40), vectors, [""] * 40, TWO, SlateOptions())[:20] == list(range(20))


def test_similar_items_are_separated() -> None:
    """Of three equal items and a different, slightly worse one, the different one comes second."""
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    assert slate(np.array([1, 0.95, 0.9, 0.8], np.float32), vectors, [""] * 4, NOBODY)[:2] == [0, 3]


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "A", ""]), min_size=1, max_size=80), st.randoms())
def test_brands_are_capped(brands: list[str], random: Random) -> None:
    """Each row occurs once; ten consecutive positions exceed a brand's cap only if no other brand is left."""
    count = len(brands)
    scores = np.array([random.random() for _ in brands], np.float32)
    vectors = np.zeros((count, 2), np.float32)
    order = slate(scores, vectors, brands, NOBODY)
    assert sorted(order) == list(range(count))
    for place in range(min(PLACES, count)):
        window = Counter(brands[row].casefold() for row in order[max(0, place - WINDOW + 1) : place])
        brand = brands[order[place]].casefold()
        if brand and window[brand] >= BRAND_CAP:
            assert all(brands[row] and window[brands[row].casefold()] >= BRAND_CAP for row in order[place:])


def test_beyond_the_slate_scores_decide() -> None:
    """Behind the slate the order is that of the scores."""
    order = slate(falling(200), np.tile(np.eye(2, dtype=np.float32), (100, 1)), ["x"] * 200, TWO)
    assert order[PLACES:] == sorted(order[PLACES:])


def test_items_shown_without_a_click_fall() -> None:
    """The best of three falls behind the others after many impressions without a click."""
    scores = np.array([1.0, 0.99, 0.0], np.float32)
    assert np.argmax(fatigued(scores, [0, 0, 0])) == 0
    assert np.argmax(fatigued(scores, [3, 0, 0])) == 1
    assert np.argmin(fatigued(scores, [99, 0, 0])) == 2


def plainly(scores: np.ndarray, vectors: np.ndarray, brands: list[str], wishes: Interests) -> list[Placement]:
    """The reference implementation: sorts all rows at each position."""
    owner, shares, cost = np.zeros(len(scores), int), np.ones(1), 0.3
    if len(wishes):
        owner, shares = np.argmax(vectors @ wishes.vectors.T, axis=1), wishes.shares.astype(float)
    names = [brand.casefold() for brand in brands]
    pools = [np.flatnonzero(owner == interest) for interest in range(len(shares))]
    similarity, given, placed = np.zeros(len(scores), np.float32), np.zeros(len(shares)), list[Placement]()
    for place in range(min(PLACES, len(scores))):
        marginal = scores - cost * similarity
        shown = Counter(names[one.row] for one in placed[max(0, place - WINDOW + 1) :])
        by_turn = np.argsort(given - shares * (place + 1), kind="stable")
        turns = [pools[interest] for interest in by_turn if len(pools[interest])]
        best_first = [row for pool in turns for row in pool[np.argsort(-marginal[pool], kind="stable")].tolist()]
        row = next((row for row in best_first if not names[row] or shown[names[row]] < BRAND_CAP), best_first[0])
        passed_over = None if row == best_first[0] else best_first[0]
        placed.append(Placement(row, cost * float(similarity[row]), int(owner[row]), passed_over))
        pools[owner[row]] = pools[owner[row]][pools[owner[row]] != row]
        given[owner[row]] += 1
        similarity = np.maximum(similarity, vectors @ vectors[row])
    return placed


@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(0, 6), st.integers(1, 12))
def test_positions_match_the_reference(seed: int, count: int, interests: int, brands: int) -> None:
    """Each position matches the reference that sorts all rows, including equal scores and capped brands."""
    random = np.random.default_rng(seed)
    vectors = np.eye(8, dtype=np.float32)[random.integers(0, 8, count)]
    vectors[: count // 2] = random.normal(size=(count // 2, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (random.integers(0, 12, count) / 11).astype(np.float32)
    names = [("", "a", "A", *"bcdefghijkl")[kind] for kind in random.integers(0, brands, count)]
    shares = random.random(interests).astype(np.float32) + 0.01
    wishes = Interests(np.eye(8, dtype=np.float32)[:interests], shares / max(shares.sum(), 1))
    assert list(placements(scores, vectors, names, wishes, MIXED)) == plainly(scores, vectors, names, wishes)
