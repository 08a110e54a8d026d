"""Starts what an image is there for, within this very process: `python deploy/checks/image_start.py IMAGE [EXTRA,…]`.

With EXTRA,… it first hides every installed distribution that those extras of the project do not bring, directly or
not: what an image's environment lacks is then missing here too, without a second environment. Without, it takes the
environment as it is; `python -m deploy.checks.images` runs it so, in one that was made of the image's extras alone.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

PROJECT = "kairos-suite"
_SITE = sysconfig.get_path("purelib")
_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def closure(extras: Iterable[str]) -> set[str]:
    """Names of all distributions that the project needs with `extras`, normalised; versions are pip's matter."""
    # Imported here: an image has no need of it.
    from packaging.requirements import Requirement

    table = tomllib.loads(_PYPROJECT.read_text())["project"]
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in table["dependencies"]]
    waiting += [Requirement(f"{PROJECT}[{extra}]") for extra in extras]
    while waiting:
        requirement = waiting.pop()
        name = _normal(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            lines = table["optional-dependencies"].get(extra, []) if name == PROJECT else _requires(name)
            needed = [Requirement(line) for line in lines]
            waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def hide_all_but(kept: set[str]) -> None:
    """From here on, top-level packages of other distributions are as good as not installed."""
    owners = packages_distributions()
    hidden = {package for package, names in owners.items() if not {_normal(name) for name in names} & kept}
    sys.meta_path[:] = [_Without(finder, hidden) for finder in sys.meta_path]  # type: ignore[arg-type]


class _Without:
    """A finder that does not find `hidden`: `find_spec("torch")` is None and `import torch` fails, as without it."""

    def __init__(self, finder: MetaPathFinder, hidden: set[str]) -> None:
        self._finder, self._hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        spec = self._finder.find_spec(name, path, target)
        # A package that lies elsewhere is a copy that another one brings along, as Ray does with psutil.
        is_installed = spec is not None and any(str(place).startswith(_SITE) for place in _places(spec))
        return None if is_installed and name.partition(".")[0] in self._hidden else spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def _places(spec: ModuleSpec) -> list[str]:
    """The files or folders of a top-level module, without what Ray keeps for itself."""
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    return [place for place in places if "thirdparty_files" not in place]


def start_gateway(folder: Path) -> None:
    from services.gateway.server import start_gateway as start
    from services.gateway.settings import GatewaySettings

    async def start_and_stop() -> None:
        gateway = await start(GatewaySettings.model_validate({"server": {"port": 0, "drain_s": 0}}))
        await gateway.stop()

    asyncio.run(start_and_stop())
    importlib.import_module("uvloop")
    _import_tracing()


def start_query_encoder(folder: Path) -> None:
    from services.query_encoder.settings import QueryEncoderSettings
    from services.query_encoder.wiring import build_lexicons

    importlib.import_module("services.query_encoder.app")
    _import_all("services.query_encoder.adapters", but=("torch_encoder", "layer_shapes"))
    build_lexicons(QueryEncoderSettings(data_dir=folder)).close()
    if find_spec("torch") is not None:
        raise SystemExit("torch is here, and serving needs none of it")
    _import_tracing()


def start_retrieval(folder: Path) -> None:
    from services.retrieval.settings import FusionSettings, RetrievalSettings
    from services.retrieval.wiring import build_handler

    importlib.import_module("services.retrieval.app")
    _import_all("services.retrieval.adapters")
    build_handler(RetrievalSettings(data_dir=folder, fusion=FusionSettings())).close()
    _import_tracing()


def start_ranker(folder: Path) -> None:
    from services.pricing.settings import PricingSettings
    from services.pricing.wiring import build_handler as build_pricing
    from services.ranker.settings import RankerSettings
    from services.ranker.wiring import build_handler

    importlib.import_module("services.ranker.app")
    importlib.import_module("services.pricing.app")
    _import_all("services.ranker.adapters")
    _import_all("services.pricing.adapters")
    build_handler(RankerSettings(data_dir=folder)).check()
    build_pricing(PricingSettings(data_dir=folder)).check()
    _import_tracing()


def start_cli(folder: Path) -> None:
    from cli.main import app

    for module in ("qdrant_dump", "redis_dump"):
        importlib.import_module(f"ops.backup.{module}")
    state, store = folder / "state", (folder / "store").as_uri()
    (state / "pricing").mkdir(parents=True)
    (state / "pricing" / "kept").write_text("kept")
    for command in ("backup", "restore"):
        app([command, store, "--data-dir", str(state), "--force"], standalone_mode=False)


def start_learner(folder: Path) -> None:
    from services.learner.learner import Learner
    from services.learner.metrics import LearnerMetrics
    from services.learner.settings import LearnerSettings
    from services.ranker.adapters.model_registry import ModelRegistry
    from services.ranker.domain.weighted_sum import Weights
    from services.ranker.settings import RankerSettings
    from services.ranker.wiring import build_store
    from training.ranking.learnable import LearnableRanker
    from training.ranking.network import NetworkSettings

    importlib.import_module("services.learner.__main__")
    importlib.import_module("services.ranker.adapters.redis_store")
    settings = RankerSettings(data_dir=folder)
    store, weights = build_store(settings), Weights(**settings.weights.model_dump())
    registry, learning = ModelRegistry(folder / "models"), LearnerSettings(data_dir=folder)
    Learner(store, registry, weights, learning, LearnerMetrics()).turn()
    store.close()
    # Exports too: a version is nothing without its ONNX form.
    LearnableRanker(NetworkSettings(dimensions=8)).save(folder)
    _import_tracing()


def start_suite(folder: Path) -> None:
    for start in (start_query_encoder, start_retrieval, start_ranker):
        start(folder / start.__name__)


STARTS: dict[str, Callable[[Path], None]] = {
    "gateway": start_gateway,
    "query_encoder": start_query_encoder,
    "retrieval": start_retrieval,
    "ranker": start_ranker,
    "cli": start_cli,
    "learner": start_learner,
    "suite": start_suite,
}


def _import_all(package: str, but: tuple[str, ...] = ()) -> None:
    """Every module of a package: each adapter that a setting can choose."""
    for module in iter_modules(importlib.import_module(package).__path__):
        if module.name not in but:
            importlib.import_module(f"{package}.{module.name}")


def _import_tracing() -> None:
    """What services.common.telemetry imports once an OTLP endpoint is configured."""
    importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    importlib.import_module("opentelemetry.sdk.trace.export")


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another platform
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        hide_all_but(closure(sys.argv[2].split(",")))
    with tempfile.TemporaryDirectory() as scratch:
        STARTS[sys.argv[1]](Path(scratch))
    print(f"{sys.argv[1]} starts")
