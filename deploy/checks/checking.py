"""All checks: over one overlay's objects, over all overlays together, over the files beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.checks.build import DEPLOY, Object
from deploy.checks.dockerfiles import dockerfile_problems
from deploy.checks.docs import docs_problems
from deploy.checks.engines import engine_problems
from deploy.checks.idle import idle_problems, idle_secrets
from deploy.checks.kustomizations import kustomization_problems
from deploy.checks.network import network_problems
from deploy.checks.prometheus import prometheus_problems
from deploy.checks.references import idle_policies, reference_problems
from deploy.checks.schemas import schema_problems
from deploy.checks.suite import suite_problems
from deploy.checks.words import word_problems
from deploy.checks.workloads import workload_problems


def problems_of(objects: list[Object], secrets: list[Object], deploy: Path = DEPLOY) -> list[str]:
    """What is wrong; empty when nothing is. What does not hold to its schema is not looked at any further."""
    problems = list(schema_problems([*objects, *secrets])) or list(word_problems([*objects, *secrets]))
    problems = problems or [*reference_problems(objects, secrets), *suite_problems(objects, secrets, deploy)]
    # Who may talk to whom is a matter of names that lead somewhere.
    return problems or [
        *workload_problems(objects, secrets, deploy),
        *engine_problems(objects),
        *network_problems(objects),
        *idle_problems(objects),
    ]


def problems_over(overlays: Mapping[str, list[Object]], secrets: list[Object], deploy: Path = DEPLOY) -> list[str]:
    """What no overlay alone shows. `deploy`: from where they were built."""
    return [
        *idle_policies(list(overlays.values())),
        *idle_secrets(overlays, secrets),
        *kustomization_problems(overlays, deploy),
        *docs_problems(overlays, secrets),
    ]


def problems_of_files(deploy: Path = DEPLOY) -> list[str]:
    """What is wrong with the files that kustomize does not read."""
    return [*dockerfile_problems(deploy), *_dashboards(deploy), *prometheus_problems(deploy)]


def _dashboards(deploy: Path) -> list[str]:
    text = (deploy / "monitoring" / "kustomization.yaml").read_text()
    files = (path.name for path in (deploy / "monitoring" / "dashboards").glob("*.json"))
    return [
        f"deploy/monitoring: nobody takes dashboards/{name} along" for name in files if f"dashboards/{name}" not in text
    ]
