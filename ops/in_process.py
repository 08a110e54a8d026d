"""All services in one process on free loopback ports, without Ray: for training, tests and measurements of quality.

Handlers, engines, settings and gRPC are the same as in the running suite.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc

from kairos.assistant.v1 import assistant_pb2_grpc
from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from kairos.sponsored.v1 import sponsored_pb2_grpc
from services.assistant.settings import AssistantSettings, ShopAccessSettings
from services.assistant.wiring import WiredAssistant, build_assistant
from services.common.control_access import ControlAccessSettings
from services.common.process import freeze_gc, keep_freed_memory
from services.common.telemetry import LogLevel, TelemetrySettings, configure_telemetry
from services.gateway.server import GatewayServer, start_gateway
from services.gateway.settings import (
    BudgetSettings,
    GatewaySettings,
    MetricsSettings,
    ServerSettings,
    StagesSettings,
)
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler as build_pricing_handler
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler as build_encoder_handler
from services.ranker.handler import RankerHandler
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler as build_ranker_handler
from services.retrieval.settings import FusionSettings, RetrievalSettings
from services.retrieval.wiring import build_handler as build_retrieval_handler
from services.sponsored.settings import SponsoredSettings
from services.sponsored.wiring import build_sponsored

# Long enough that no stage is late: quality must not depend on the speed of the machine.
BUDGET_MS = 30_000
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


@dataclass(frozen=True)
class InProcessSuite:
    """Addresses, host:port, of the gateway and of all stages; `ranker_measures` reads the ranker's metrics."""

    gateway_target: str
    stages_target: str
    ranker_measures: Callable[[], Mapping[str, float]]

    def wait_until_counted(self, timeout_s: float = 60) -> None:
        """Returns when every recorded event is in the counts over all persons, on which answers depend.

        Raises TimeoutError.
        """
        deadline = time.monotonic() + timeout_s
        while self.ranker_measures()["kairos_ranker_item_counter_behind"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the events were not counted within {timeout_s:.0f} s")
            time.sleep(0.05)


@contextlib.contextmanager
def in_process_suite(
    folder: Path,
    fusion: FusionSettings | None = None,
    encoder: Mapping[str, Any] | None = None,
    domain_dir: Path | None = None,
    ranker: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.time,
    random: Random | None = None,
    gateway: Mapping[str, Any] | None = None,
    pricing: Mapping[str, Any] | None = None,
    sponsored: Mapping[str, Any] | None = None,
    assistant: Mapping[str, Any] | None = None,
    log_level: LogLevel = "warning",
) -> Iterator[InProcessSuite]:
    """Runs the suite with its state in `folder`, also if the environment names servers.

    `fusion`, `encoder`, `ranker`, `gateway`, `pricing`, `sponsored` and `assistant` (settings of these services) and
    `domain_dir` (the folder of the domain) replace defaults. `clock`, in seconds since the epoch, is that of ranker and
    gateway. `random` draws the exploration.
    """
    configure_telemetry("kairos", TelemetrySettings(log_level=log_level, log_format="console"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="in-process suite", daemon=True)
    thread.start()
    try:
        servers = asyncio.run_coroutine_threadsafe(
            _start(
                folder,
                fusion or FusionSettings(),
                {"domain_dir": domain_dir} | dict(encoder or {}),
                domain_dir,
                ranker or {},
                clock,
                random,
                gateway or {},
                pricing or {},
                sponsored or {},
                assistant or {},
            ),
            loop,
        ).result()
        keep_freed_memory()
        freeze_gc()
        try:
            yield InProcessSuite(f"127.0.0.1:{servers.gateway.port}", servers.stages_target, servers.ranker.measures)
        finally:
            asyncio.run_coroutine_threadsafe(servers.stop(), loop).result()
            # The process continues, and may free what it allocated before.
            gc.unfreeze()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@dataclass
class _Servers:
    gateway: GatewayServer
    stages: grpc.aio.Server
    stages_target: str
    ranker: RankerHandler
    assistant: WiredAssistant
    assistant_server: grpc.aio.Server
    closing: contextlib.ExitStack

    async def stop(self) -> None:
        await self.assistant_server.stop(None)
        await self.assistant.close()
        await self.gateway.stop()
        await self.stages.stop(None)
        self.closing.close()


async def _start(
    folder: Path, fusion: FusionSettings, encoder_settings: Mapping[str, Any], domain_dir: Path | None,
    ranker_settings: Mapping[str, Any], clock: Callable[[], float], random: Random | None,
    gateway_settings: Mapping[str, Any], pricing_settings: Mapping[str, Any], sponsored_settings: Mapping[str, Any],
    assistant_settings: Mapping[str, Any],
) -> _Servers:  # fmt: skip
    models = folder / "ranker" / "models"
    encoder = build_encoder_handler(
        QueryEncoderSettings(
            data_dir=folder / "query_encoder", lexicon="sqlite", registry_dir=models, registry_url="",
            **encoder_settings,
        )
    )  # fmt: skip
    retrieval = build_retrieval_handler(
        RetrievalSettings(
            data_dir=folder / "retrieval", engine="edge", fusion=fusion, registry_dir=models, registry_url=""
        )
    )
    ranker = build_ranker_handler(
        RankerSettings(
            data_dir=folder / "ranker", store="sqlite", registry_dir=None, registry_url="", **ranker_settings
        ),
        clock,
        random,
    )
    # Without a control nobody takes the quotes: they stay in the outbox.
    own = {"data_dir": folder / "pricing", "redis_url": "", "control": ControlAccessSettings()}
    pricing = build_pricing_handler(PricingSettings(**{**own, **pricing_settings}))
    # Without a control it has no campaigns.
    sponsored = build_sponsored(SponsoredSettings(**{"control": ControlAccessSettings(), **sponsored_settings}))
    closing = contextlib.ExitStack()
    for handler in (encoder, retrieval, ranker, sponsored, pricing):
        closing.callback(handler.close)
    stages = grpc.aio.server(options=_OPTIONS)
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(encoder, stages)
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(retrieval, stages)
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(ranker, stages)
    sponsored_pb2_grpc.add_SponsoredServiceServicer_to_server(sponsored.handler, stages)
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(pricing, stages)
    target = f"127.0.0.1:{stages.add_insecure_port('127.0.0.1:0')}"
    await stages.start()
    # The assistant calls the gateway: it starts last, at an address that the gateway knows.
    assistant_server = grpc.aio.server(options=_OPTIONS)
    assistant_target = f"127.0.0.1:{assistant_server.add_insecure_port('127.0.0.1:0')}"
    at = StagesSettings.at(target)
    own_stage = at.assistant.model_copy(update={"target": assistant_target})
    gateway = await start_gateway(
        GatewaySettings(
            server=ServerSettings(port=0),
            metrics=MetricsSettings(port=0),
            domain_dir=domain_dir,
            budget=BudgetSettings(
                default_ms=BUDGET_MS, maximum_ms=BUDGET_MS, write_ms=10 * BUDGET_MS, converse_ms=10 * BUDGET_MS
            ),
            stages=at.model_copy(update={"assistant": own_stage}),
            **gateway_settings,
        ),
        clock=clock,
    )
    shop = ShopAccessSettings(target=f"127.0.0.1:{gateway.port}", timeout_s=BUDGET_MS / 1e3)
    own = {"gateway": shop, "domain_dir": domain_dir, "turn_s": BUDGET_MS / 100}
    assistant = build_assistant(AssistantSettings(**{**own, **assistant_settings}))
    assistant_pb2_grpc.add_AssistantServiceServicer_to_server(assistant.handler, assistant_server)
    await assistant_server.start()
    return _Servers(gateway, stages, target, ranker, assistant, assistant_server, closing)
