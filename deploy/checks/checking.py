"""All checks over one overlay's objects."""

from __future__ import annotations

from deploy.checks.build import Object
from deploy.checks.references import reference_problems
from deploy.checks.schemas import schema_problems
from deploy.checks.suite import suite_problems


def problems_of(objects: list[Object], secrets: list[Object]) -> list[str]:
    """What is wrong; empty when nothing is. What does not hold to its schema is not looked at any further."""
    problems = list(schema_problems([*objects, *secrets]))
    return problems or [*reference_problems(objects, secrets), *suite_problems(objects)]
