"""Imports between the folders follow docs/explanation/architecture.md: they go one way, without a cycle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from services.assistant.metrics import MEASURES as OF_ASSISTANT
from services.control.metrics import ControlMetrics
from services.gateway.metrics import Metrics
from services.learner.metrics import LearnerMetrics
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.metrics import MEASURES as OF_PRICING
from services.pricing.publisher.metrics import PublisherMetrics
from services.query_encoder.metrics import MEASURES as OF_QUERY_ENCODER
from services.ranker.metrics import MEASURES as OF_RANKER
from services.ranker.metrics import OF_SHOPPER_VERSIONS
from services.retrieval.metrics import MEASURES as OF_RETRIEVAL
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.metrics import MEASURES as OF_SPONSORED

ROOT = Path(__file__).parents[2]
SERVICES = (
    "query_encoder",
    "retrieval",
    "ranker",
    "pricing",
    "sponsored",
    "assistant",
    "learner",
    "control",
    "gateway",
)
FOLDERS = (
    "services",
    "catalog",
    "experiments",
    "training",
    "ops",
    "cli",
    "demo",
    "benchmarks",
    "deploy",
    "docs",
    "tests",
)


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder} holds no module"
    return found


def offenders(files: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        if any(name == prefix or name.startswith(prefix + ".") for prefix in forbidden)
    ]


def room(dotted: str) -> str | None:
    """The folder that a module belongs to; each folder in services counts as one. None: not ours."""
    first, *rest = dotted.split(".")
    if first not in FOLDERS:
        return None
    return f"services.{rest[0]}" if first == "services" and rest else first


def room_imports() -> dict[str, dict[str, str]]:
    """By folder: the folders that it imports, each with one import as the example."""
    graph: dict[str, dict[str, str]] = defaultdict(dict)
    for folder in FOLDERS:
        for file in modules(folder):
            own = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
            for name in imports(file):
                other = room(name)
                if own and other and own != other and other != "services":
                    graph[own].setdefault(other, f"{file.relative_to(ROOT)} imports {name}")
    return graph


def test_folders_import_without_a_cycle() -> None:
    """No cycle among folders, where each folder in services counts as one."""
    graph = room_imports()
    try:
        TopologicalSorter({own: set(others) for own, others in graph.items()}).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        pytest.fail("\n".join(graph[importer][imported] for imported, importer in pairwise(cycle)))


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    """A service imports only itself and services.common; the learner also works on the ranker's code."""
    allowed = {"learner": {"ranker"}}.get(service, set())
    others = [f"services.{other}" for other in SERVICES if other != service and other not in allowed]
    assert not offenders(modules(f"services/{service}"), *others)


def test_common_imports_no_service() -> None:
    """What services share imports none of them."""
    assert not offenders(modules("services/common"), *(f"services.{name}" for name in SERVICES))


def test_services_import_nothing_around_them() -> None:
    """Services import no folder outside services; only the learner imports training.ranking."""
    around = [folder for folder in FOLDERS if folder != "services"]
    learner = set(modules("services/learner"))
    assert not offenders([file for file in modules("services") if file not in learner], *around)
    found = offenders(sorted(learner), *around)
    assert not [line for line in found if "imports training.ranking" not in line]


def test_benchmarks_import_no_deploy() -> None:
    """Benchmarks measure the product; they import no checks of manifests."""
    assert not offenders(modules("benchmarks"), "deploy")


def test_tests_import_no_benchmarks() -> None:
    """What a test needs is in the product or beside the test; only the benchmarks' own tests import them."""
    own = set(modules("tests/unit/benchmarks"))
    assert not offenders([file for file in modules("tests") if file not in own], "benchmarks")


def test_domain_is_pure() -> None:
    """Domain code knows no transport, no engine, no message."""
    domain = [file for file in modules("services") if "domain" in file.parts]
    assert not offenders(domain, "grpc", "ray", "qdrant_client", "qdrant_edge", "kairos")


def test_only_app_imports_ray() -> None:
    """Ray stays in app.py, and nothing in the gateway needs it."""
    rest = [file for file in modules("services") if file.name != "app.py" and file.name != "direct_ingress.py"]
    assert not offenders(rest, "ray")


def test_the_gateway_loads_neither_torch_nor_ray() -> None:
    """The gateway's image needs neither."""
    code = (
        "import sys, services.gateway.server; print([m for m in ('torch', 'ray', 'qdrant_client') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_docs_name_every_metric() -> None:
    """docs/reference/metrics.md lists what the code exports, no more and no less."""
    own = (Metrics(), LearnerMetrics(), PublisherMetrics(), LearningMetrics(), ControlMetrics(), BillerMetrics())
    exported = {family.name for metrics in own for family in metrics.registry.collect()}
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    of_stages = (OF_QUERY_ENCODER, OF_RETRIEVAL, OF_RANKER, OF_SHOPPER_VERSIONS, OF_PRICING, OF_SPONSORED, OF_ASSISTANT)
    exported |= {f"ray_{name}" for measures in of_stages for name in measures}
    documented = {line.split("`")[1] for line in text.splitlines() if line.startswith(("| `kairos_", "| `ray_kairos_"))}
    assert documented == exported
