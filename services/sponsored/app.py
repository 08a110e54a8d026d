"""The Ray Serve application `sponsored`."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.util.metrics import Gauge

from kairos.sponsored.v1 import sponsored_pb2
from services.common.process import freeze_gc, keep_freed_memory
from services.common.rpc import CallContext
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry
from services.sponsored.metrics import MEASURES
from services.sponsored.settings import SponsoredSettings
from services.sponsored.wiring import build_sponsored


class Sponsored:
    """One replica. Serve finds the method by the last segment of the RPC's path."""

    def __init__(self, settings: SponsoredSettings) -> None:
        configure_telemetry("sponsored", settings.telemetry)
        guard_stage()
        self._sponsored = build_sponsored(settings)
        self._gauges = {name: Gauge(name, text) for name, text in MEASURES.items()}
        keep_freed_memory()
        freeze_gc()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica. A handler that could not be built is absent.
        if sponsored := self.__dict__.pop("_sponsored", None):
            sponsored.close()

    async def SelectAds(
        self, request: sponsored_pb2.SelectAdsRequest, grpc_context: CallContext
    ) -> sponsored_pb2.SelectAdsResponse:
        return await self._sponsored.handler.SelectAds(request, grpc_context)

    async def check_health(self) -> None:
        # Serve asks every ten seconds.
        for name, value in (await asyncio.to_thread(self._sponsored.measures)).items():
            self._gauges[name].set(value)


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they override the environment."""
    return serve.deployment(name="sponsored")(Sponsored).bind(load_settings(SponsoredSettings, args))
