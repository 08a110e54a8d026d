"""The vector of a query in its context."""

from __future__ import annotations

import numpy as np

from services.query_encoder.domain.query_context import in_category, session_mixing

NORTH, EAST = np.eye(2, dtype=np.float32)


def test_no_context() -> None:
    """Without a context the vector of the query stays the same, bit for bit."""
    assert in_category(NORTH, None, 0.7, 0.3) is NORTH


def test_a_category() -> None:
    """The vector is alpha * query + beta * category, scaled to length 1."""
    np.testing.assert_allclose(in_category(NORTH, EAST, 0.8, 0.6), [0.8, 0.6], rtol=1e-6)


def test_a_session() -> None:
    """The vector is alpha * query + beta * mean(session, category), scaled to length 1."""
    alone = session_mixing(NORTH, None, 0.8, 0.6).mixed(EAST)
    with_category = session_mixing(NORTH, NORTH, 1.0, 1.0).mixed(EAST)
    assert alone is not None
    assert with_category is not None
    np.testing.assert_allclose(alone, [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(with_category, np.array([1.5, 0.5]) / np.sqrt(2.5), rtol=1e-6)


def test_cancelled_out() -> None:
    """A context that cancels the query out, and a session of zeros, are ignored."""
    assert in_category(NORTH, -NORTH, 1.0, 1.0) is NORTH
    assert session_mixing(NORTH, None, 1.0, 1.0).mixed(-NORTH) is None
    assert session_mixing(NORTH, EAST, 1.0, 1.0).mixed(np.zeros(2, np.float32)) is None
