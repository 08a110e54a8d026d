"""Suggest: one call of the encoder; without it the answer is empty."""

from __future__ import annotations

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.gateway import fallbacks
from services.gateway.convert import check_texts
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def suggest(calls: StageCalls, parts: Parts, message: gateway_pb2.SuggestRequest) -> gateway_pb2.SuggestResponse:
    check_texts(message)
    if message.limit < 0:
        raise InvalidArgument.of("limit", f"{message.limit} is negative; 0 means the default")
    ask = encoder_pb2.SuggestRequest(prefix=message.prefix, limit=message.limit)
    found = await calls.call_or_degrade(
        Stage.QUERY_ENCODER, parts.stubs.encoder.Suggest, ask, (), fallbacks.NO_SUGGESTIONS
    )
    return gateway_pb2.SuggestResponse(
        suggestions=found.suggestions if found is not None else (),
        degradations=calls.degradations,
        request_id=calls.info.request_id,
    )
