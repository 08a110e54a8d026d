"""The context of a session: a vector that follows its queries and interactions, and its last events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.event import EventType

# The events that a session keeps.
RECENT = 20


class SessionEvent(NamedTuple):
    """What the shopper model reads of an event. `occurred_s` in seconds since the epoch."""

    item_id: str
    type: EventType
    occurred_s: float
    query: str = ""


@dataclass(frozen=True)
class SessionContext:
    """`vector` is a unit vector [dimensions] of model `model_version`; of length 0 while no move had a vector.

    `recent` are the last events, newest first, at most RECENT.
    """

    model_version: str
    vector: FloatArray
    recent: tuple[SessionEvent, ...] = ()

    @classmethod
    def empty(cls) -> SessionContext:
        return cls("", np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class SessionMove:
    """A step of one session: `vectors` [n, dimensions] in order, each the vector of a query or of an item.

    `person` is the key of the user or visitor who acted; empty: unknown. `moved_s` in seconds since the epoch. `events`
    are new events of the session, in any order.
    """

    tenant: str
    session_id: str
    person: str
    model_version: str
    vectors: FloatArray
    moved_s: float
    events: Sequence[SessionEvent] = field(default=())


def moved(known: SessionContext | None, move: SessionMove, step: float) -> SessionContext | None:
    """The context after the move: for each vector (1 - step) x context + step x vector, scaled to length 1.

    A zero vector changes nothing. A vector of another model version is replaced.
    """
    context = known or SessionContext.empty()
    for vector in unit_rows(move.vectors):
        if not vector.any():
            continue
        is_first = context.model_version != move.model_version or not len(context.vector)
        stepped = vector if is_first else unit_rows((1 - step) * context.vector + step * vector)
        context = replace(context, model_version=move.model_version, vector=stepped)
    if move.events:
        newest = sorted({*context.recent, *move.events}, key=lambda event: event.occurred_s, reverse=True)
        context = replace(context, recent=tuple(newest[:RECENT]))
    return context if len(context.vector) or context.recent else None
