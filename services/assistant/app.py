"""The Ray Serve application `assistant`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from ray.util.metrics import Gauge

from kairos.assistant.v1 import assistant_pb2
from services.assistant.metrics import MEASURES
from services.assistant.settings import AssistantSettings
from services.assistant.wiring import WiredAssistant, build_assistant
from services.common.process import freeze_gc, keep_freed_memory
from services.common.rpc import CallContext
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry


class Assistant:
    """One replica. Serve finds the method by the last segment of the RPC's path."""

    def __init__(self, settings: AssistantSettings) -> None:
        configure_telemetry("assistant", settings.telemetry)
        guard_stage()
        self._settings = settings
        # Channels belong to the event loop of the calls: the first call builds them.
        self._built: WiredAssistant | None = None
        self._gauges = {name: Gauge(name, text) for name, text in MEASURES.items()}
        keep_freed_memory()
        freeze_gc()

    async def Converse(
        self, request: assistant_pb2.ConverseRequest, grpc_context: CallContext
    ) -> AsyncIterator[assistant_pb2.ConverseResponse]:
        async for response in self._assistant().handler.Converse(request, grpc_context):
            yield response

    async def check_health(self) -> None:
        # Serve asks every ten seconds.
        for name, value in self._assistant().measures().items():
            self._gauges[name].set(value)

    def _assistant(self) -> WiredAssistant:
        if self._built is None:
            self._built = build_assistant(self._settings)
        return self._built


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they override the environment."""
    return serve.deployment(name="assistant")(Assistant).bind(load_settings(AssistantSettings, args))
