"""Suggest: one call of the encoder; an empty answer where it is late or down."""

from __future__ import annotations

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.domain.budget import Stage
from services.gateway.flow import Parts
from services.gateway.stages import Request


async def suggest(request: Request, parts: Parts, message: gateway_pb2.SuggestRequest) -> gateway_pb2.SuggestResponse:
    """Raises InvalidArgument where the encoder does: its bounds are the public ones."""
    asked = encoder_pb2.SuggestRequest(prefix=message.prefix, limit=message.limit)
    found = await request.call_or_degrade(
        Stage.QUERY_ENCODER, parts.clients.encoder.Suggest, asked, (), "no suggestions"
    )
    return gateway_pb2.SuggestResponse(
        suggestions=found.suggestions if found is not None else (),
        degradations=request.degradations,
        request_id=request.call.request_id,
    )
