"""A conversation of a shopper with the assistant: its newest turns, and the state that the next turn builds on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.common.errors import Aborted, NotFound

# Turns that are kept, if they fit into what is kept of a conversation.
MOST_TURNS = 20


@dataclass(frozen=True)
class Turn:
    """`time_s` is in seconds since the epoch."""

    id: str
    time_s: float
    utterance: str = ""
    answer: str = ""
    shown_item_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """`turns`: oldest first. `turn_count`: how many there were in all. `state` is the assistant's, opaque."""

    id: str
    turns: tuple[Turn, ...] = ()
    state: bytes = b""
    turn_count: int = 0


def appended(known: Conversation | None, id: str, turn: Turn, state: bytes, turn_count: int) -> Conversation:
    """The conversation `id` with a further turn; as it is if it has the turn already. `known` None: it is not stored.

    Raises NotFound if a stored one is meant and there is none, and Aborted if `turn_count`, as the caller knows it, is
    not that of the conversation.
    """
    if known is None:
        if turn_count:
            raise unknown(id)
        known = Conversation(id)
    if turn.id in {each.id for each in known.turns}:
        return known
    if turn_count != known.turn_count:
        raise Aborted(
            f"the conversation has {known.turn_count} turns by now, not {turn_count}: two were made at the same time; "
            "read the conversation again, then repeat",
            {"turn_count": str(turn_count), "current_turn_count": str(known.turn_count)},
        )
    turns = (*known.turns, turn)[-MOST_TURNS:]
    return replace(known, turns=turns, state=state, turn_count=known.turn_count + 1)


def unknown(id: str) -> NotFound:
    """The same for an id that never was, one that has expired, and one of another person."""
    return NotFound(f"there is no conversation {id!r} of this shopper, or it has expired; begin a new one")
