"""Checks every overlay of deploy/k8s. Exits with 1 when something is wrong."""

from __future__ import annotations

import sys

from deploy.checks.build import BuildFailed, built_overlays, example_secrets
from deploy.checks.checking import problems_of, problems_of_files, problems_over


def main() -> int:
    secrets = example_secrets()
    try:
        overlays = built_overlays()
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    problems = [f"{name}: {problem}" for name, objects in overlays.items() for problem in problems_of(objects, secrets)]
    problems += [*problems_over(overlays, secrets), *problems_of_files()]
    for problem in problems:
        print(problem, file=sys.stderr)
    counts = ", ".join(f"{name} {len(objects)} objects" for name, objects in overlays.items())
    print(f"{counts}; {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
