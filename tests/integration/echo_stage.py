"""A stage that answers at once, or after a second if it is asked for "patience", and streams words: its tests see what
Serve does around a handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from kairos.assistant.v1 import assistant_pb2
from kairos.encoder.v1.encoder_pb2 import EncodeQueryRequest, EncodeQueryResponse
from kairos.encoder.v1.encoder_pb2_grpc import QueryEncoderServiceServicer
from services.common.errors import NotFound
from services.common.rpc import rpc, rpc_stream
from services.common.telemetry import TelemetrySettings, configure_telemetry


class EchoHandler(QueryEncoderServiceServicer):
    def __init__(self) -> None:
        configure_telemetry("echo", TelemetrySettings())

    @rpc(EncodeQueryResponse)
    async def EncodeQuery(self, request: EncodeQueryRequest) -> EncodeQueryResponse:
        if request.text == "patience":
            await asyncio.sleep(1)
        return EncodeQueryResponse(language="en", vector=request.query_context.session)

    @rpc_stream(assistant_pb2.ConverseResponse)
    async def Converse(
        self, request: assistant_pb2.ConverseRequest, metadata: Mapping[str, str]
    ) -> AsyncIterator[assistant_pb2.ConverseResponse]:
        """Each word of the text; then NOT_FOUND if the conversation is "unknown"."""
        for word in request.utterance.text.split():
            yield assistant_pb2.ConverseResponse(segment=assistant_pb2.TextSegment(text=word))
            await asyncio.sleep(0.1)
        if request.conversation_id == "unknown":
            raise NotFound("there is no such conversation")
        yield assistant_pb2.ConverseResponse(ended=assistant_pb2.TurnEnded(language=metadata["authorization"]))


def build_stage(args: dict[str, Any]) -> Any:
    """A Serve application: the import path of a Serve configuration names this function."""
    from ray import serve

    return serve.deployment(name="stage", max_ongoing_requests=128)(EchoHandler).bind()
