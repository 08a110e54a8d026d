"""The context of a session: one vector that follows what the session asked for and interacted with."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.arrays import FloatArray, unit_rows


@dataclass(frozen=True)
class SessionContext:
    """`vector` is a unit vector [dimensions] of model `model_version`."""

    model_version: str
    vector: FloatArray


@dataclass(frozen=True, eq=False)
class SessionMove:
    """A step of one session: `vectors` [n, dimensions] in order, each the vector of a query or of an item.

    `person` is the key of the user or visitor who acted; empty: unknown. `moved_s` in seconds since the epoch.
    """

    tenant: str
    session_id: str
    person: str
    model_version: str
    vectors: FloatArray
    moved_s: float


def moved(known: SessionContext | None, move: SessionMove, step: float) -> SessionContext | None:
    """The context after the move: for each vector (1 - step) x context + step x vector, scaled to length 1.

    A zero vector changes nothing. A context of another model version is replaced.
    """
    if known is not None and known.model_version != move.model_version:
        known = None
    for vector in unit_rows(move.vectors):
        if not vector.any():
            continue
        context = vector if known is None else unit_rows((1 - step) * known.vector + step * vector)
        known = SessionContext(move.model_version, context)
    return known
