"""What pydantic finds wrong, as the wrong fields of a request or file."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from services.common.errors import FieldViolation

# Problems that an error names; there may be more.
_MOST_PROBLEMS = 20


def violations_of(error: ValidationError, prefix: str) -> list[FieldViolation]:
    """At most 20, each with its path below `prefix`: placements.home.sources[0].quota."""
    wrong = [_violation(problem, prefix) for problem in error.errors()]
    # A list with a wrong entry is reported as too short as well.
    inner = [each for each in wrong if not any(other.field.startswith(f"{each.field}[") for other in wrong)]
    return inner[:_MOST_PROBLEMS]


def _violation(problem: Any, prefix: str) -> FieldViolation:
    path = prefix
    for part in problem["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return FieldViolation(path, problem["msg"].removeprefix("Value error, "))
