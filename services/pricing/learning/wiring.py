"""Builds the consumer of the log from its settings, and runs it beside the price publisher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.common.gateway_access import GatewayAccessSettings
from services.common.periodic import Periodic
from services.pricing.learning.consumer import DemandConsumer
from services.pricing.learning.grpc_log import GrpcDemandLog
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.learning.ports import Bounds
from services.pricing.learning.settings import LearningSettings
from services.pricing.learning.sqlite_store import SqliteDemandStore


@contextmanager
def learning(
    settings: LearningSettings, folder: Path, gateway: GatewayAccessSettings, registry: CollectorRegistry
) -> Iterator[None]:
    """The log is read in a thread until the end of the context. Raises ValueError for a store of another layout."""
    if not settings.enabled:
        yield
        return
    with consumer(settings, folder, gateway, LearningMetrics(registry)) as reading:
        thread = Periodic("price-learning", reading.turn, settings.poll_s)
        thread.wake()
        try:
            yield
        finally:
            thread.close()


@contextmanager
def consumer(
    settings: LearningSettings, folder: Path, gateway: GatewayAccessSettings, metrics: LearningMetrics,
    clock: Callable[[], float] = time.time,
) -> Iterator[DemandConsumer]:  # fmt: skip
    with (
        closing(SqliteDemandStore(folder, settings.time_zone, settings.window_s)) as store,
        closing(GrpcDemandLog(gateway, store.key)) as log,
    ):
        bounds = Bounds(**settings.model_dump(include=set(Bounds.__dataclass_fields__)))
        yield DemandConsumer(log, store, bounds, metrics, settings.upkeep_s, clock)
