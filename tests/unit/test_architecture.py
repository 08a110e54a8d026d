"""The arrows between the folders go one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gateway.metrics import Metrics
from training.learner.metrics import LearnerMetrics

ROOT = Path(__file__).parents[2]
SERVICES = ("query_encoder", "retrieval", "ranker", "gateway")
OUTER = ("training", "demo", "cli", "benchmarks", "deploy", "tests")


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


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    """A service knows itself and what is common."""
    others = [f"services.{other}" for other in SERVICES if other != service]
    assert not offenders(modules(f"services/{service}"), *others)


def test_common_imports_no_service() -> None:
    """What services share knows none of them."""
    assert not offenders(modules("services/common"), *(f"services.{name}" for name in SERVICES))


def test_services_import_nothing_around_them() -> None:
    """Services know neither the command line, the demo shop, benchmarks nor training."""
    assert not offenders(modules("services"), *OUTER)


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
    """docs/metrics.md lists what the code exports, no more and no less."""
    exported = {family.name for metrics in (Metrics(), LearnerMetrics()) for family in metrics.registry.collect()}
    text = (ROOT / "docs" / "metrics.md").read_text()
    documented = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `kairos_")}
    assert documented == exported
