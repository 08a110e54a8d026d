"""All services in one process, set up so that the same requests always get the same answers.

This is the only file here that knows how services are built. What would make answers differ between two runs:

- time: ages of events and products enter scores and markdowns, so ranker and pricing get a clock that stands still;
- chance: exploration is 0;
- the encoder: the fp32 model, no other backend;
- lateness: time budgets are so large that no stage is ever late;
- the search engine's background optimiser: it has finished, and the suite is restarted, before the first request.
  For a large catalogue it builds a vector graph, which is another one after every import and finds other neighbours;
  such a catalogue is left unoptimised, and vectors are compared one by one;
- what earlier runs recorded: the ranker starts without state each time, only catalogue and vectors are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from catalog.mapping import parse_mapping
from catalog.rows import RowRefused, column_names, read_rows
from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from ops.client import Connection
from ops.in_process import InProcessSuite
from services.common.gateway_access import GatewayAccessSettings
from services.common.outbox.sqlite_outbox import SqliteOutbox
from services.common.published import PublishedMetrics
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.gateway.server import GatewayServer, start_gateway
from services.gateway.settings import (
    BudgetSettings,
    GatewaySettings,
    MetricsSettings,
    SearchSettings,
    ServerSettings,
    StagesSettings,
)
from services.pricing.handler import PricingHandler
from services.pricing.policies import FollowedPolicies, policy_set
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler as build_encoder_handler
from services.ranker.handler import RankerHandler
from services.ranker.settings import RankerSettings
from services.ranker.wiring import (
    build_conversation_store,
    build_count_store,
    build_models,
    build_ranking_store,
    build_shopper_models,
    build_store,
)
from services.retrieval.settings import EdgeSettings, RetrievalSettings
from services.retrieval.wiring import build_handler as build_retrieval_handler

# "Now" for ranker and pricing. It lies in the past: events from the future are refused.
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
# Of each call. Nothing is late on any machine.
TIMEOUT_S = 600.0
# Products of the demo shop: some sixteen of each shelf. The fp32 model takes 10 ms for each.
DEMO_SIZE = 1_000

# Products that the gateway encodes and stores in one go.
_BATCH = 128
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
# Long enough that the optimiser does not begin before `_generation` is read, short enough not to be waited for.
_OPTIMIZE_IDLE_S = 1.0
_OPTIMIZE_TIMEOUT_S = 1_800.0
# Changed products after which the optimiser begins.
_NEVER = 1 << 31
_READY = "imported.json"


@dataclass(frozen=True)
class Catalogue:
    """A file that `kairos catalog import` reads. `mapping` as its option --map; `exact`: it is not optimised."""

    path: Path
    mapping: str = ""
    currency: str = "USD"
    exact: bool = False

    def products(self) -> list[product_pb2.Product]:
        """The products that an import of the file takes, in its order; of a repeated id the first."""
        mapping = parse_mapping(self.mapping, column_names(self.path), self.currency)
        products: dict[str, product_pb2.Product] = {}
        for row in read_rows(self.path):
            with contextlib.suppress(RowRefused):
                if not row.problem:
                    product = mapping.product(row.values)
                    products.setdefault(product.id, product)
        return list(products.values())


@contextlib.contextmanager
def golden_suite(folder: Path, catalogue: Catalogue) -> Iterator[InProcessSuite]:
    """A gateway over the imported catalogue. A folder that has it already is used as it is."""
    configure_telemetry("golden", TelemetrySettings(log_level="warning", log_format="console"))
    if not (folder / _READY).exists():
        _import(folder, catalogue)
    with _running(folder) as suite:
        yield suite


def _import(folder: Path, catalogue: Catalogue) -> None:
    products = catalogue.products()
    folder.mkdir(parents=True, exist_ok=True)
    before = ""
    # Optimised once, when every product has come.
    with _running(folder, _NEVER if catalogue.exact else len(products)) as suite:
        with Connection(suite.gateway_target).stub() as stub:
            for first in range(0, len(products), _BATCH):
                message = gateway_pb2.ImportProductsRequest(products=products[first : first + _BATCH])
                stub.ImportProducts(iter([message]), timeout=TIMEOUT_S)
                # The collection exists from the first batch on; until the last one has come it is not optimised.
                before = before or _generation(folder)
        deadline = time.monotonic() + _OPTIMIZE_TIMEOUT_S
        while not catalogue.exact and _generation(folder) == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{folder}: the optimiser has not finished after {_OPTIMIZE_TIMEOUT_S:.0f} s")
            time.sleep(0.2)
        _publish_prices(suite.gateway_target)
    (folder / _READY).write_text(json.dumps({"products": len(products)}))


def _publish_prices(target: str) -> None:
    """Markdowns as of NOW are offers of the catalogue."""
    pricing = PricingSettings()
    with (
        tempfile.TemporaryDirectory(prefix="golden") as state,
        contextlib.closing(SqlitePublisherState(Path(state))) as kept,
        contextlib.closing(GrpcShopGateway(GatewayAccessSettings(target=target, timeout_s=TIMEOUT_S))) as gateway,
    ):
        policies = policy_set(pricing, {})
        publisher = PricePublisher(gateway, kept, lambda: policies, PublisherMetrics(), NOW.timestamp)
        while not publisher.step():
            pass


def _generation(folder: Path) -> str:
    """Which of the engine's folders is valid. It changes when the optimiser has finished and its work is in use."""
    return str(json.loads((folder / "retrieval" / "default" / "manifest.json").read_text())["generation"])


@contextlib.contextmanager
def _running(folder: Path, optimize_after: int = _NEVER) -> Iterator[InProcessSuite]:
    """A started suite."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="golden suite", daemon=True)
    thread.start()
    try:
        with tempfile.TemporaryDirectory(prefix="golden") as state:
            servers = asyncio.run_coroutine_threadsafe(_start(folder, Path(state), optimize_after), loop).result()
            try:
                yield InProcessSuite(
                    f"127.0.0.1:{servers.gateway.port}", servers.stages_target, servers.ranker.measures
                )
            finally:
                asyncio.run_coroutine_threadsafe(servers.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@dataclass
class _Servers:
    gateway: GatewayServer
    stages: grpc.aio.Server
    stages_target: str
    ranker: RankerHandler
    closing: contextlib.ExitStack

    async def stop(self) -> None:
        await self.gateway.stop()
        await self.stages.stop(None)
        self.closing.close()


async def _start(folder: Path, state: Path, optimize_after: int) -> _Servers:
    """`folder` keeps the catalogue, `state` what users did."""
    encoder = build_encoder_handler(QueryEncoderSettings(data_dir=folder / "query_encoder", backend="onnx-fp32"))
    edge = EdgeSettings(optimize_after=optimize_after, optimize_idle_s=_OPTIMIZE_IDLE_S)
    retrieval = build_retrieval_handler(RetrievalSettings(data_dir=folder / "retrieval", edge=edge))
    ranker, pricing = _ranker(state / "ranker"), _pricing(state / "pricing")
    closing = contextlib.ExitStack()
    for handler in (encoder, retrieval, ranker, pricing):
        closing.callback(handler.close)
    stages = grpc.aio.server(options=_OPTIONS)
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(encoder, stages)
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(retrieval, stages)
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(ranker, stages)
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(pricing, stages)
    target = f"127.0.0.1:{stages.add_insecure_port('127.0.0.1:0')}"
    await stages.start()
    budget_ms = TIMEOUT_S * 1e3
    gateway = await start_gateway(
        GatewaySettings(
            server=ServerSettings(port=0),
            metrics=MetricsSettings(port=0),
            budget=BudgetSettings(default_ms=budget_ms, maximum_ms=budget_ms, explain_ms=budget_ms, write_ms=budget_ms),
            # The recording waits until the popular items are those after the last event.
            search=SearchSettings(popular_refresh_s=0.5),
            stages=StagesSettings.at(target),
        )
    )
    return _Servers(gateway, stages, target, ranker, closing)


def _ranker(data_dir: Path) -> RankerHandler:
    settings = RankerSettings(data_dir=data_dir, exploration=0)
    store = build_store(settings)
    rankings, models = build_ranking_store(settings), build_models(settings, store)
    shoppers, counts = build_shopper_models(settings, store), build_count_store(settings)
    conversations = build_conversation_store(settings)
    return RankerHandler(store, rankings, models, shoppers, counts, conversations, settings, clock=NOW.timestamp)


def _pricing(data_dir: Path) -> PricingHandler:
    settings = PricingSettings(data_dir=data_dir)
    policies = FollowedPolicies(settings, settings.control, PublishedMetrics(CollectorRegistry(), "kairos_pricing"))
    outbox = SqliteOutbox(data_dir, settings.outbox.bounds)
    return PricingHandler(policies, outbox, settings.quote_valid_s, clock=NOW.timestamp)
