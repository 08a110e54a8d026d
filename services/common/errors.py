"""The errors that a caller can receive, as one tree. `services.common.rpc` maps them to gRPC codes.

    KairosError
    ├── InvalidArgument     INVALID_ARGUMENT     the caller's mistake; names each field and the remedy
    ├── Unauthenticated     UNAUTHENTICATED      no API key, or an unknown one
    ├── PermissionDenied    PERMISSION_DENIED    the key lacks the role for this method
    ├── NotFound            NOT_FOUND            the requested entity does not exist
    ├── AlreadyExists       ALREADY_EXISTS       an entity with this id exists
    ├── Conflict            FAILED_PRECONDITION  the state does not allow the call; names what would
    ├── Aborted             ABORTED              somebody else has changed the entity; read it again, then repeat
    ├── BudgetExpired       DEADLINE_EXCEEDED    no time was left to begin
    ├── Overloaded          RESOURCE_EXHAUSTED   refused before any work; says when to try again
    └── Unavailable         UNAVAILABLE          a dependency is down; trying again may help

Any other exception is a defect: INTERNAL. Its traceback is logged and never sent to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FieldViolation:
    """A wrong field: its path in the request (`products[3].price.units`), the problem and the remedy."""

    field: str
    description: str


class KairosError(Exception):
    """Root of the tree. `reason` is a stable UPPER_SNAKE_CASE identifier for programs; `metadata` are further facts for
    them.
    """

    reason = "INTERNAL"
    metadata: Mapping[str, str] = MappingProxyType({})


class InvalidArgument(KairosError):
    """The request is invalid; nothing was done."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, *violations: FieldViolation) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """For a single wrong field."""
        return cls(FieldViolation(field, description))


class Unauthenticated(KairosError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(KairosError):
    reason = "PERMISSION_DENIED"


class NotFound(KairosError):
    reason = "NOT_FOUND"


class AlreadyExists(KairosError):
    reason = "ALREADY_EXISTS"


class Conflict(KairosError):
    reason = "CONFLICT"


class Aborted(KairosError):
    """`metadata` names the state that the caller knows and the current one."""

    reason = "ABORTED"

    def __init__(self, message: str, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata
        super().__init__(message)


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
