"""Checks of the requests about conversations. Raises InvalidArgument with the path of each wrong field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kairos.gateway.v1 import conversation_pb2
from services.common.convert import time_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_STATE_BYTES, MAX_TURN_ITEMS, MAX_UTTERANCE, id_problem
from services.gateway.convert import check_texts, fields_below, has_visible, require_one_person, transcript_violations

# At least 128 random bits.
_CONVERSATION = re.compile(r"[A-Za-z0-9_-]{22,128}")


def check_turn(message: conversation_pb2.ConverseRequest) -> None:
    """Of an utterance, all that is checked before the assistant is called."""
    if wrong_id := id_problem(message.conversation_id, required=False):
        raise InvalidArgument.of("conversation_id", wrong_id)
    with fields_below("shopper"):
        check_texts(message.shopper)
    if wrong := _of_utterance(message.utterance):
        raise InvalidArgument(*wrong)


def check_appended(message: conversation_pb2.AppendTurnRequest) -> None:
    if not _CONVERSATION.fullmatch(message.conversation_id):
        raise InvalidArgument.of(
            "conversation_id", 'is no id of a conversation; send 22 to 128 of A-Z, a-z, 0-9, "-" and "_"'
        )
    require_one_person(message.user_id, message.visitor_id)
    turn, wrong = message.turn, list[FieldViolation]()
    if problem := id_problem(turn.id):
        wrong.append(FieldViolation("turn.id", problem))
    if turn.HasField("time"):
        time_from_proto(turn.time, "turn.time")
    else:
        wrong.append(FieldViolation("turn.time", "is missing; send the time of the turn"))
    if len(turn.utterance) > MAX_UTTERANCE:
        problem = f"has {len(turn.utterance)} characters; send at most {MAX_UTTERANCE}"
        wrong.append(FieldViolation("turn.utterance", problem))
    wrong += _of_ids("turn.shown_item_ids", turn.shown_item_ids)
    if len(message.state) > MAX_STATE_BYTES:
        wrong.append(FieldViolation("state", f"has {len(message.state)} bytes; send at most {MAX_STATE_BYTES}"))
    if message.turn_count < 0:
        wrong.append(FieldViolation("turn_count", f"{message.turn_count} is negative; 0 means a new conversation"))
    if wrong:
        raise InvalidArgument(*wrong)


def check_asked_for(message: conversation_pb2.GetConversationRequest) -> None:
    if problem := id_problem(message.conversation_id):
        raise InvalidArgument.of("conversation_id", problem)
    require_one_person(message.user_id, message.visitor_id)


def _of_utterance(utterance: Any) -> list[FieldViolation]:
    """Of its fields; of the whole if none of them is wrong."""
    wrong = [*_of_text("utterance.text", utterance.text), *_of_ids("utterance.item_ids", utterance.item_ids)]
    if problem := id_problem(utterance.chip_id, required=False):
        wrong.append(FieldViolation("utterance.chip_id", problem))
    wrong += transcript_violations("utterance.transcripts", utterance.transcripts, MAX_UTTERANCE)
    given = [name for name in ("text", "chip_id", "transcripts") if getattr(utterance, name)]
    if len(given) != 1 and not wrong:
        found = f"has {' and '.join(given)}" if given else "is empty"
        wrong.append(FieldViolation("utterance", f"{found}; send exactly one of text, chip_id and transcripts"))
    return wrong


def _of_text(field: str, text: str) -> Iterator[FieldViolation]:
    if len(text) > MAX_UTTERANCE:
        yield FieldViolation(field, f"has {len(text)} characters; send at most {MAX_UTTERANCE}")
    elif text and not has_visible(text):
        yield FieldViolation(field, "has no visible character; send what the shopper said")


def _of_ids(field: str, ids: Any) -> Iterator[FieldViolation]:
    if len(ids) > MAX_TURN_ITEMS:
        yield FieldViolation(field, f"holds {len(ids)}; send at most {MAX_TURN_ITEMS}")
    for index, each in enumerate(ids[:MAX_TURN_ITEMS]):
        if problem := id_problem(each):
            yield FieldViolation(f"{field}[{index}]", problem)
