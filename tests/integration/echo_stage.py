"""A stage that answers at once, or after a second if it is asked for "patience": its tests see what Serve does around a
handler.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kairos.encoder.v1.encoder_pb2 import EncodeQueryRequest, EncodeQueryResponse
from kairos.encoder.v1.encoder_pb2_grpc import QueryEncoderServiceServicer
from services.common.rpc import rpc
from services.common.telemetry import TelemetrySettings, configure_telemetry


class EchoHandler(QueryEncoderServiceServicer):
    def __init__(self) -> None:
        configure_telemetry("echo", TelemetrySettings())

    @rpc(EncodeQueryResponse)
    async def EncodeQuery(self, request: EncodeQueryRequest) -> EncodeQueryResponse:
        if request.text == "patience":
            await asyncio.sleep(1)
        return EncodeQueryResponse(language="en", vector=request.query_context.session)


def build_stage(args: dict[str, Any]) -> Any:
    """A Serve application: the import path of a Serve configuration names this function."""
    from ray import serve

    return serve.deployment(name="stage", max_ongoing_requests=128)(EchoHandler).bind()
