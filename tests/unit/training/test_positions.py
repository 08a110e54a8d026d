"""The examination of positions is estimated from the log, whatever the shop shows first and however rare pairs are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.ranking.positions import examination_of

PLACES = 8


def log(
    decay: float, lists: int, per_item: float, noise: float, preference: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(positions, items, clicks) of a position-based shop: each list has eight of 16 products of a query.

    Position k is examined with the probability k^-decay. The shop prefers products that are wanted; the stronger
    `preference`, the less its order changes. A query has `per_item` lists.
    """
    random = np.random.default_rng(seed)
    queries = int(lists / per_item)
    rates = noise + (0.9 - noise) * random.beta(0.3, 1.5, (queries, 16))
    query = np.repeat(np.arange(queries), int(per_item))
    order = np.argsort(-preference * rates[query] - random.gumbel(size=(len(query), 16)), axis=1)[:, :PLACES]
    places = np.arange(1, PLACES + 1)
    chance = places**-decay * rates[query[:, None], order]
    clicks = random.random(chance.shape) < chance
    items = query[:, None] * 16 + order
    return np.tile(places, len(query)), items.ravel(), clicks.ravel().astype(np.float32)


@given(
    decay=st.floats(0.2, 2.0), per_item=st.integers(5, 40), noise=st.floats(0.01, 0.2), preference=st.floats(0, 3),
    seed=st.integers(0, 2**16),
)  # fmt: skip
@settings(max_examples=15)
def test_the_truth_is_found(decay: float, per_item: int, noise: float, preference: float, seed: int) -> None:
    """With 20,000 lists every estimate is within 0.08 of the truth, with five searches of each query as with forty."""
    found = examination_of(*log(decay, 20_000, per_item, noise, preference, seed))
    np.testing.assert_allclose(found[1 : PLACES + 1], np.arange(1, PLACES + 1) ** -decay, atol=0.08)


@pytest.mark.parametrize("clicked", [False, True])
def test_positions_without_evidence(clicked: bool) -> None:
    """Without clicks every position counts as examined; positions that were never shown have the value before them."""
    positions, items, clicks = log(1.0, 2_000, 10, 0.1, 1.0, 0)
    found = examination_of(positions, items, clicks * clicked)
    assert np.isfinite(found).all()
    assert (found[0], found[1]) == (1.0, 1.0)
    np.testing.assert_allclose(found[PLACES:], found[PLACES], rtol=1e-5)
    assert (found[PLACES] < 0.3) == clicked


def test_few_clicks_change_little() -> None:
    """One click at the second place, for a product that was shown at both, is no evidence that all look at it."""
    found = examination_of(np.array([1, 2, 1, 2]), np.array([0, 0, 1, 1]), np.array([0.0, 1.0, 0.0, 0.0], np.float32))
    assert 1.0 < found[2] < 1.5
