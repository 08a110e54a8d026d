"""Starts an image's program within this process: `python deploy/checks/image_start.py IMAGE`.

`python -m deploy.checks.images` runs it in an environment that was made of the image's extras alone.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules


def start_gateway(folder: Path) -> None:
    from services.gateway.server import start_gateway as start
    from services.gateway.settings import GatewaySettings

    async def start_and_stop() -> None:
        settings = {"server": {"port": 0, "drain_s": 0}, "metrics": {"port": 0}}
        gateway = await start(GatewaySettings.model_validate(settings))
        await gateway.stop()

    asyncio.run(start_and_stop())
    importlib.import_module("uvloop")


def start_query_encoder(folder: Path) -> None:
    from services.query_encoder.settings import QueryEncoderSettings
    from services.query_encoder.wiring import build_lexicons

    importlib.import_module("services.query_encoder.app")
    _import_all("services.common.models")
    _import_all("services.query_encoder.adapters", but=("torch_encoder", "layer_shapes"))
    build_lexicons(QueryEncoderSettings(data_dir=folder)).close()
    if find_spec("torch") is not None:
        raise SystemExit("torch is here, and serving needs none of it")


def start_retrieval(folder: Path) -> None:
    from services.retrieval.settings import FusionSettings, RetrievalSettings
    from services.retrieval.wiring import build_handler

    importlib.import_module("services.retrieval.app")
    _import_all("services.common.models")
    _import_all("services.retrieval.adapters")
    build_handler(RetrievalSettings(data_dir=folder, fusion=FusionSettings())).close()


def start_ranker(folder: Path) -> None:
    from services.ranker.settings import RankerSettings
    from services.ranker.wiring import build_handler

    importlib.import_module("services.ranker.app")
    _import_all("services.common.models")
    _import_all("services.ranker.adapters")
    build_handler(RankerSettings(data_dir=folder)).check()


def start_pricing(folder: Path) -> None:
    from services.pricing.settings import PricingSettings
    from services.pricing.wiring import build_handler

    importlib.import_module("services.pricing.app")
    _import_all("services.common.outbox")
    build_handler(PricingSettings(data_dir=folder)).check()


def start_price_publisher(folder: Path) -> None:
    from services.pricing.publisher.settings import PricePublisherSettings
    from services.pricing.settings import PricingSettings

    program = importlib.import_module("services.pricing.__main__")
    settings = PricePublisherSettings.model_validate({"data_dir": folder, "metrics": {"port": 0}})
    stop = threading.Event()
    stop.set()
    program.publish(settings, PricingSettings(data_dir=folder), stop)


def start_sponsored(folder: Path) -> None:
    from services.sponsored.settings import SponsoredSettings
    from services.sponsored.wiring import build_sponsored

    importlib.import_module("services.sponsored.app")
    build_sponsored(SponsoredSettings()).close()


def start_assistant(folder: Path) -> None:
    from services.assistant.settings import AssistantSettings
    from services.assistant.wiring import build_assistant

    async def start_and_stop() -> None:
        await build_assistant(AssistantSettings()).close()

    importlib.import_module("services.assistant.app")
    # A local model needs torch, which a site adds to its image.
    _import_all("services.assistant.adapters", but=("local_model",))
    from services.common.personal_data import masked

    if masked("anna@example.com") != "[email_address]":
        raise SystemExit("the recognisers of personal data do not work")
    asyncio.run(start_and_stop())


def start_biller(folder: Path) -> None:
    from services.sponsored.biller.settings import BillerSettings

    importlib.import_module("services.sponsored.__main__")
    program = importlib.import_module("services.sponsored.biller.wiring")
    stop = threading.Event()
    stop.set()
    program.run(BillerSettings.model_validate({"data_dir": folder, "metrics": {"port": 0}}), stop)


def start_control(folder: Path) -> None:
    from services.control.server import start_control as start
    from services.control.settings import ControlSettings

    async def start_and_stop() -> None:
        settings = {"data_dir": folder, "server": {"port": 0, "drain_s": 0}, "metrics": {"port": 0}}
        control = await start(ControlSettings.model_validate(settings))
        await control.stop()

    asyncio.run(start_and_stop())
    for module in ("uvloop", "psycopg", "pyarrow.parquet", "services.control.__main__"):
        importlib.import_module(module)


def start_cli(folder: Path) -> None:
    from cli.main import app

    for module in ("qdrant_dump", "redis_dump"):
        importlib.import_module(f"ops.backup.{module}")
    # The stop of experiments runs from the same image, and its reports have plots.
    for name in ("experiments.__main__", "matplotlib.pyplot"):
        importlib.import_module(name)
    state, store = folder / "state", (folder / "store").as_uri()
    (state / "pricing").mkdir(parents=True)
    (state / "pricing" / "kept").write_text("kept")
    for command in ("backup", "restore"):
        app([command, store, "--data-dir", str(state), "--force"], standalone_mode=False)


def start_learner(folder: Path) -> None:
    from services.common.models.registry import ModelRegistry
    from services.learner.learner import Learner
    from services.learner.metrics import LearnerMetrics
    from services.learner.settings import LearnerSettings
    from services.ranker.settings import RankerSettings
    from services.ranker.wiring import build_store
    from training.ranking.learnable import LearnableRanker
    from training.ranking.network import NetworkSettings

    importlib.import_module("services.learner.__main__")
    importlib.import_module("services.ranker.adapters.redis_store")
    settings = RankerSettings(data_dir=folder)
    store, weights = build_store(settings), settings.serving_weights
    registry, learning = ModelRegistry(folder / "models"), LearnerSettings(data_dir=folder)
    Learner(store, registry, ModelRegistry(registry.folder / "shopper"), weights, learning, LearnerMetrics()).turn()
    store.close()
    # The learner also exports each version to ONNX.
    LearnableRanker(NetworkSettings(dimensions=8)).save(folder)


def start_suite(folder: Path) -> None:
    for start in (start_query_encoder, start_retrieval, start_ranker, start_pricing, start_sponsored, start_assistant):
        start(folder / start.__name__)


STARTS: dict[str, Callable[[Path], None]] = {
    "gateway": start_gateway,
    "query_encoder": start_query_encoder,
    "retrieval": start_retrieval,
    "ranker": start_ranker,
    "pricing": start_pricing,
    "sponsored": start_sponsored,
    "assistant": start_assistant,
    "price_publisher": start_price_publisher,
    "biller": start_biller,
    "control": start_control,
    "cli": start_cli,
    "learner": start_learner,
    "suite": start_suite,
}


def _import_all(package: str, but: tuple[str, ...] = ()) -> None:
    """Every module of a package: each adapter that a setting can choose."""
    for module in iter_modules(importlib.import_module(package).__path__):
        if module.name not in but:
            importlib.import_module(f"{package}.{module.name}")


def start(image: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        STARTS[image](Path(scratch))
    if image != "cli":
        # services.common.telemetry imports them once an OTLP endpoint is configured.
        importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
        importlib.import_module("opentelemetry.sdk.trace.export")
    print(f"{image} starts")


if __name__ == "__main__":
    start(sys.argv[1])
