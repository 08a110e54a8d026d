"""The parts of an answer, in the order of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.assistant.domain.conversation import Question
from services.assistant.domain.facts import Sentence
from services.assistant.domain.intents import Intent
from services.assistant.domain.shop import Degraded, Item
from services.assistant.flows.turn import HandOverReason
from services.assistant.ports import Query, WrittenBy


@dataclass(frozen=True)
class Begun:
    conversation_id: str
    turn_id: str
    request_id: str


@dataclass(frozen=True)
class Segment:
    sentence: Sentence
    by: WrittenBy


@dataclass(frozen=True)
class Cards:
    """`query`: the search behind the products; None without one."""

    items: Sequence[Item]
    query: Query | None


@dataclass(frozen=True)
class HandedOver:
    reason: HandOverReason
    summary: str


@dataclass(frozen=True)
class Ended:
    intent: Intent
    language: str
    degradations: Sequence[Degraded]
    is_stored: bool
    transcript: str
    removed: int


Event = Begun | Segment | Cards | Question | HandedOver | Ended
