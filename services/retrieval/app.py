"""Retrieval as a Ray Serve application."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.util.metrics import Gauge

from services.common.process import freeze_gc, keep_freed_memory
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry
from services.retrieval.handler import RetrievalHandler
from services.retrieval.metrics import MEASURES
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import attribute_names, build_retriever


class RetrievalReplica(RetrievalHandler):
    """The handler, with the methods that Serve calls on a replica."""

    def __init__(self, settings: RetrievalSettings) -> None:
        configure_telemetry("retrieval", settings.telemetry)
        guard_stage()
        names = attribute_names(settings)
        super().__init__(build_retriever(settings), settings.workers, settings.answer_cache_mb, names)
        self._gauges = {name: Gauge(name, text) for name, text in MEASURES.items()}
        keep_freed_memory()
        freeze_gc()

    def check_health(self) -> None:
        # Serve asks every ten seconds.
        for name, value in self.measures().items():
            self._gauges[name].set(value)
        self.check()

    def close(self) -> None:
        # A replica that could not be built, or is closed, has nothing to close.
        if self.__dict__.pop("_gauges", None) is not None:
            super().close()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica.
        self.close()


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they win over the environment.

    Exactly one replica: an Edge shard belongs to one process, and a second replica would fail on the folder's lock.
    With `engine=server` Serve's configuration may ask for more.
    """
    deployment = serve.deployment(name="retrieval", num_replicas=1)
    return deployment(RetrievalReplica).bind(load_settings(RetrievalSettings, args))
