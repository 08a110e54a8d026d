"""The Ray Serve application `pricing`."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.util.metrics import Gauge

from kairos.pricing.v1 import pricing_pb2
from services.common.process import freeze_gc, keep_freed_memory
from services.common.rpc import CallContext
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry
from services.pricing.metrics import MEASURES
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler


class Pricing:
    """One replica. Serve finds the method by the last segment of the RPC's path."""

    def __init__(self, settings: PricingSettings) -> None:
        configure_telemetry("pricing", settings.telemetry)
        guard_stage()
        self._handler = build_handler(settings)
        self._gauges = {name: Gauge(name, text) for name, text in MEASURES.items()}
        keep_freed_memory()
        freeze_gc()

    async def QuotePrices(
        self, request: pricing_pb2.QuotePricesRequest, grpc_context: CallContext
    ) -> pricing_pb2.QuotePricesResponse:
        return await self._handler.QuotePrices(request, grpc_context)

    def check_health(self) -> None:
        # Serve asks every ten seconds.
        for name, value in self._handler.measures().items():
            self._gauges[name].set(value)
        self._handler.check()


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they override the environment."""
    return serve.deployment(name="pricing")(Pricing).bind(load_settings(PricingSettings, args))
