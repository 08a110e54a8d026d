"""The vector of a query in its context."""

from __future__ import annotations

import numpy as np

from services.query_encoder.domain.query_context import mix

NORTH, EAST = np.eye(2, dtype=np.float32)


def test_no_context() -> None:
    """Without a context the vector of the query stays the same, bit for bit."""
    assert mix(NORTH, [], 0.7, 0.3) is NORTH


def test_context() -> None:
    """The vector is alpha * query + beta * mean(context), scaled to length 1."""
    np.testing.assert_allclose(mix(NORTH, [EAST, EAST], 0.8, 0.6), [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(mix(NORTH, [EAST, NORTH], 1.0, 1.0), np.array([1.5, 0.5]) / np.sqrt(2.5), rtol=1e-6)


def test_cancelled_out() -> None:
    """A context that cancels the query out is ignored."""
    assert mix(NORTH, [-NORTH], 1.0, 1.0) is NORTH
