"""The stored conversations of shoppers. These calls have no fallback: they are made whole, or fail.

A key with the role `read` may make them: the id of a conversation cannot be guessed, and the shopper's id is checked
too.
"""

from __future__ import annotations

from kairos.gateway.v1 import conversation_pb2
from kairos.ranker.v1 import conversation_pb2 as stored_pb2
from services.gateway.convert_conversation import check_appended, check_asked_for
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def append_turn(
    calls: StageCalls, parts: Parts, message: conversation_pb2.AppendTurnRequest
) -> conversation_pb2.AppendTurnResponse:
    check_appended(message)
    append = stored_pb2.AppendTurnRequest(
        conversation_id=message.conversation_id, user_id=message.user_id, visitor_id=message.visitor_id,
        turn=message.turn, state=message.state, turn_count=message.turn_count,
    )  # fmt: skip
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.AppendTurn, append)
    return conversation_pb2.AppendTurnResponse(turn_count=answer.turn_count, request_id=calls.info.request_id)


async def get_conversation(
    calls: StageCalls, parts: Parts, message: conversation_pb2.GetConversationRequest
) -> conversation_pb2.GetConversationResponse:
    check_asked_for(message)
    ask = stored_pb2.GetConversationRequest(
        conversation_id=message.conversation_id, user_id=message.user_id, visitor_id=message.visitor_id
    )
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.GetConversation, ask)
    return conversation_pb2.GetConversationResponse(conversation=answer.conversation, request_id=calls.info.request_id)
