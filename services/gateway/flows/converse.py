"""A turn of a conversation: what the assistant answers, or a fixed text and a hand-over if it does not.

The budget is that of conversations. The assistant calls the gateway with the caller's key, as any client does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from kairos.assistant.v1 import assistant_pb2
from kairos.gateway.v1 import conversation_pb2
from services.common.errors import Conflict
from services.common.scripts import has_han
from services.gateway import fallbacks
from services.gateway.convert_conversation import check_turn
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls
from services.gateway.stage_errors import StageFailed, broken
from services.gateway.stage_stream import stream

_UNAVAILABLE = {
    "en": "I cannot answer at the moment. Please try again in a little while, or ask the shop's staff.",
    "zh": "我暂时无法回答。请稍后再试，或者联系店铺的工作人员。",
}
# Of HandOver.summary.
_MOST_SUMMARY = 500
# Events that a shopper reads.
_WORDS = ("segment", "products", "question")

Events = AsyncGenerator[assistant_pb2.ConverseResponse]


async def converse(calls: StageCalls, parts: Parts, message: conversation_pb2.ConverseRequest) -> Events:
    """The events of the turn; the last one is always `ended`.

    Raises InvalidArgument, NotFound, Conflict and Aborted before the first event, or if the assistant refuses the turn.
    """
    check_turn(message)
    if parts.stubs.assistant is None:
        raise Conflict("the suite has no assistant; set KAIROS_GATEWAY_STAGES__ASSISTANT__TARGET to the address of one")
    ask = assistant_pb2.ConverseRequest(
        conversation_id=message.conversation_id, shopper=message.shopper, utterance=message.utterance
    )
    last, has_words, conversation_id = "", False, message.conversation_id
    try:
        async with aclosing(stream(calls, Stage.ASSISTANT, parts.stubs.assistant.Converse, ask)) as events:
            async for event in events:
                kind = event.WhichOneof("event") or ""
                if (kind == "begun") != (not last) or not kind or last == "ended":
                    raise broken(Stage.ASSISTANT)
                if kind in _WORDS and not has_words:
                    has_words = True
                    parts.metrics.first_words_seconds.observe(calls.clock() - calls.info.received_s)
                last = kind
                if kind == "begun":
                    conversation_id = event.begun.conversation_id
                elif kind == "hand_over":
                    said = message.utterance.text
                    parts.reviews.ask_about_hand_over(calls.info.tenant, conversation_id, said, event.hand_over.summary)
                yield event
        if last != "ended":
            raise broken(Stage.ASSISTANT)
    except StageFailed as failed:
        if last == "ended":
            return
        calls.degrade(Stage.ASSISTANT, failed.degradation, fallbacks.HAND_OVER, failed.detail)
        for event in _without_assistant(calls, message, has_begun=bool(last)):
            yield event


def _without_assistant(
    calls: StageCalls, message: conversation_pb2.ConverseRequest, has_begun: bool
) -> list[assistant_pb2.ConverseResponse]:
    said = message.utterance.text or "".join(each.text for each in message.utterance.transcripts[:1])
    locale = message.shopper.locale
    is_chinese = locale.split("-")[0].lower() == "zh" if locale else has_han(said)
    language = "zh" if is_chinese else "en"
    event = assistant_pb2.ConverseResponse
    begun = assistant_pb2.TurnBegun(
        conversation_id=message.conversation_id, turn_id=calls.info.request_id, request_id=calls.info.request_id
    )
    apology = assistant_pb2.TextSegment(text=_UNAVAILABLE[language], source=assistant_pb2.ANSWER_SOURCE_FALLBACK)
    hand_over = assistant_pb2.HandOver(reason=assistant_pb2.HAND_OVER_REASON_NO_ANSWER, summary=said[:_MOST_SUMMARY])
    ended = assistant_pb2.TurnEnded(language=language, degradations=calls.degradations)
    return [
        *([] if has_begun else [event(begun=begun)]),
        event(segment=apology), event(hand_over=hand_over), event(ended=ended),
    ]  # fmt: skip
