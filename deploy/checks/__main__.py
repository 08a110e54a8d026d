"""Checks manifests without a cluster: built, against their schemas, against each other and against the code.

    python -m deploy.checks [--crds DIR] [--secrets FILE] [OVERLAY …]

Without OVERLAY: the overlays of this repository. In another OVERLAY, rules of this repository's overlays give warnings.
`--secrets`: the secrets that you are about to apply, instead of the example; no value in them may be a placeholder.
`--crds`: a folder with CustomResourceDefinitions, such as a cluster's own: `kubectl get crd -o yaml > DIR/crds.yaml`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from deploy.checks.addresses import address_problems
from deploy.checks.applications import application_problems
from deploy.checks.build import OVERLAYS, BuildFailed, Overlay, Problem, built_folder, objects_in
from deploy.checks.network import network_problems
from deploy.checks.ray_clusters import ray_cluster_problems
from deploy.checks.references import reference_problems
from deploy.checks.schemas import Crds, read_crds, schema_problems
from deploy.checks.stage_access import stage_access_problems
from deploy.checks.unfilled import unfilled_problems
from deploy.checks.variables import variable_problems

_RULES = (
    reference_problems, address_problems, variable_problems, ray_cluster_problems, application_problems,
    stage_access_problems,
)  # fmt: skip


def problems_of(overlay: Overlay, crds: Crds | None) -> list[Problem]:
    """Empty where nothing is wrong. Rules read what the schemas promise, and network paths need correct addresses."""
    found = list(schema_problems([*overlay.objects, *overlay.secrets], crds))
    found += unfilled_problems(overlay.objects)
    try:
        for rules in (_RULES, (network_problems,)):
            if all(problem.own for problem in found):
                found += chain.from_iterable(rule(overlay) for rule in rules)
    except KeyError as error:
        found.append(Problem("overlay", f"an object lacks the field {error}: --crds names it"))
    return found


def main(options: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.checks", description="Checks manifests without a cluster.")
    parser.add_argument("--crds", type=Path, help="a folder with CustomResourceDefinitions, *.yaml or *.yaml.gz")
    parser.add_argument("--secrets", type=Path, help="a file of Secrets, such as deploy.secrets writes")
    parser.add_argument("overlays", type=Path, nargs="*", metavar="OVERLAY", help="a folder with a kustomization.yaml")
    arguments = parser.parse_args(options)
    errors = 0
    try:
        crds = read_crds(arguments.crds) if arguments.crds else None
        secrets = [objects_in(arguments.secrets.read_text())] if arguments.secrets else []
        for folder in arguments.overlays or OVERLAYS.values():
            overlay = Overlay(built_folder(folder), *secrets)
            problems = [*problems_of(overlay, crds), *(chain.from_iterable(map(unfilled_problems, secrets)))]
            for problem in problems:
                is_error = not (arguments.overlays and problem.own)
                errors += is_error
                print(f"{'error' if is_error else 'warning'}: {folder.resolve().name}: {problem}", file=sys.stderr)
            print(f"{folder.resolve().name}: {len(overlay.objects)} objects, {len(problems)} problems")
    except (BuildFailed, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    if crds is None:
        print("Custom resources are not validated: --crds names no folder with their definitions.")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
