"""The context of a session: an exponential step towards each query and item."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.session import SessionContext, SessionMove, moved

STEP = 0.4


def move(*vectors: tuple[float, float], version: str = "m@1") -> SessionMove:
    return SessionMove("t", "s", "user:u", version, np.array(vectors, np.float32).reshape(-1, 2), 0.0)


def test_the_first_vector_starts_the_session() -> None:
    """An unknown session starts with the first vector, scaled to length 1."""
    found = moved(None, move((3, 4)), STEP)
    assert found is not None
    np.testing.assert_allclose(found.vector, [0.6, 0.8])


def test_a_move_is_a_step_towards_the_vector() -> None:
    """The context is (1 - step) times the old context plus step times the vector, scaled to length 1."""
    found = moved(SessionContext("m@1", np.array([1, 0], np.float32)), move((0, 1)), STEP)
    assert found is not None
    np.testing.assert_allclose(found.vector, np.array([0.6, 0.4]) / np.hypot(0.6, 0.4), rtol=1e-6)


def test_vectors_of_one_move_come_in_order() -> None:
    """One move of two vectors equals two moves of one vector each."""
    known = SessionContext("m@1", np.array([1, 0], np.float32))
    at_once, in_turn = moved(known, move((0, 1), (0.6, 0.8)), STEP), moved(known, move((0, 1)), STEP)
    in_turn = moved(in_turn, move((0.6, 0.8)), STEP)
    assert at_once is not None
    assert in_turn is not None
    np.testing.assert_array_equal(at_once.vector, in_turn.vector)


def test_a_zero_vector_changes_nothing() -> None:
    """A zero vector neither changes nor starts a session."""
    known = SessionContext("m@1", np.array([1, 0], np.float32))
    assert moved(known, move((0, 0)), STEP) is known
    assert moved(known, move(), STEP) is known
    assert moved(None, move((0, 0)), STEP) is None


def test_another_model_restarts_the_context() -> None:
    """Vectors of different models are never mixed: the new vector replaces the context."""
    found = moved(SessionContext("m@1", np.array([1, 0], np.float32)), move((0, 1), version="m@2"), STEP)
    assert found is not None
    assert found.model_version == "m@2"
    np.testing.assert_array_equal(found.vector, [0, 1])
