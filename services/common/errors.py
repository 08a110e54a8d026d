"""The errors that a caller can meet, one small tree, mapped to gRPC codes once (in `services.common.rpc`).

    KairosError
    ├── InvalidArgument     INVALID_ARGUMENT     the caller's mistake; names each field and the remedy
    ├── Unauthenticated     UNAUTHENTICATED      no key, or one that nobody knows
    ├── PermissionDenied    PERMISSION_DENIED    a key that may not do this
    ├── NotFound            NOT_FOUND            the one thing asked for does not exist
    ├── Conflict            FAILED_PRECONDITION  the state does not allow it; says what would
    ├── BudgetExpired       DEADLINE_EXCEEDED    no time was left to begin
    ├── Overloaded          RESOURCE_EXHAUSTED   refused early; says when to come again
    └── Unavailable         UNAVAILABLE          something below is down; trying again may help

Anything else is a defect: INTERNAL, logged with its traceback, which the caller never sees.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field: its path in the request (`products[3].price.units`), what is wrong and what would be right."""

    field: str
    description: str


class KairosError(Exception):
    """Root of the tree. `reason` is a stable UPPER_SNAKE_CASE word for machines."""

    reason = "INTERNAL"


class InvalidArgument(KairosError):
    """The request is wrong; nothing was done."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, *violations: FieldViolation) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """The usual case: one field is wrong."""
        return cls(FieldViolation(field, description))


class Unauthenticated(KairosError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(KairosError):
    reason = "PERMISSION_DENIED"


class NotFound(KairosError):
    reason = "NOT_FOUND"


class Conflict(KairosError):
    reason = "CONFLICT"


class BudgetExpired(KairosError):
    reason = "BUDGET_EXPIRED"


class Overloaded(KairosError):
    """Refused before any work was done."""

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Unavailable(KairosError):
    reason = "UNAVAILABLE"
