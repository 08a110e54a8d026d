"""Retrieval as a Ray Serve application."""

from __future__ import annotations

from typing import Any

from ray import serve

from services.common.process import freeze_gc, keep_freed_memory
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry
from services.retrieval.handler import RetrievalHandler
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_retriever

# The gateway limits the calls in flight; Serve's own limit of 5 would only queue them unseen.
_MAX_ONGOING_REQUESTS = 100


class RetrievalReplica(RetrievalHandler):
    """The handler, with the methods that Serve calls on a replica."""

    def __init__(self, settings: RetrievalSettings) -> None:
        configure_telemetry("retrieval", settings.telemetry)
        guard_stage()
        super().__init__(build_retriever(settings), settings.workers)
        keep_freed_memory()
        freeze_gc()

    def check_health(self) -> None:
        self.check()

    def __del__(self) -> None:
        self.close()


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they win over the environment.

    Exactly one replica: an Edge shard belongs to one process, and a second replica would fail on the folder's lock.
    With `engine=server` Serve's configuration may ask for more.
    """
    deployment = serve.deployment(name="retrieval", num_replicas=1, max_ongoing_requests=_MAX_ONGOING_REQUESTS)
    return deployment(RetrievalReplica).bind(load_settings(RetrievalSettings, args))
