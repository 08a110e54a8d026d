"""Protobuf <-> domain for conversations. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.ranker.v1 import conversation_pb2
from services.common.convert import time_from_proto, time_to_proto
from services.common.errors import InvalidArgument
from services.common.limits import MAX_ANSWER, MAX_STATE_BYTES, MAX_TURN_ITEMS, MAX_UTTERANCE
from services.ranker.convert import check_id, check_ids
from services.ranker.domain.conversation import Conversation, Turn
from services.ranker.times import moment


def turn_from_proto(request: conversation_pb2.AppendTurnRequest) -> Turn:
    turn = request.turn
    check_id(request.conversation_id, "conversation_id")
    check_id(turn.id, "turn.id")
    check_ids(turn.shown_item_ids, "turn.shown_item_ids")
    for field, size, most in (
        ("turn.utterance", len(turn.utterance), MAX_UTTERANCE),
        ("turn.shown_item_ids", len(turn.shown_item_ids), MAX_TURN_ITEMS),
        ("state", len(request.state), MAX_STATE_BYTES),
    ):
        if size > most:
            raise InvalidArgument.of(field, f"has a size of {size}; send at most {most}")
    if request.turn_count < 0:
        raise InvalidArgument.of("turn_count", f"{request.turn_count} is negative; 0 means a new conversation")
    if not turn.HasField("time"):
        raise InvalidArgument.of("turn.time", "is missing; send the time of the turn")
    time_s = time_from_proto(turn.time, "turn.time").timestamp()
    return Turn(turn.id, time_s, turn.utterance, turn.answer[:MAX_ANSWER], tuple(turn.shown_item_ids))


def conversation_to_proto(conversation: Conversation) -> conversation_pb2.Conversation:
    return conversation_pb2.Conversation(
        id=conversation.id,
        turns=[
            conversation_pb2.ConversationTurn(
                id=turn.id, time=_time(turn.time_s), utterance=turn.utterance, answer=turn.answer,
                shown_item_ids=turn.shown_item_ids,
            )
            for turn in conversation.turns
        ],
        state=conversation.state,
        turn_count=conversation.turn_count,
    )  # fmt: skip


def _time(seconds: float) -> Timestamp:
    return time_to_proto(moment(seconds))
