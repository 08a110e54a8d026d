"""The context of an internal request: id, tenant, locale and remaining time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from services.common.errors import BudgetExpired, InvalidArgument
from services.common.visibility import GENERAL, Viewing

DEFAULT_TENANT = "default"
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Files of the embedded engine, beside the folders of the tenants (services/retrieval/adapters/edge_layout.py).
RESERVED_TENANTS = frozenset({"lock", "writes", "gate"})


@dataclass(frozen=True)
class RequestContext:
    """The context of every internal call. `deadline_s` is on the clock of `time.monotonic`; None: no limit."""

    request_id: str = ""
    tenant: str = DEFAULT_TENANT
    locale: str = ""
    deadline_s: float | None = None
    # (experiment, arm).
    experiment_arms: tuple[tuple[str, str], ...] = ()
    viewing: Viewing = GENERAL

    def remaining_s(self) -> float:
        """Seconds left: infinity without a limit, negative after the deadline."""
        return float("inf") if self.deadline_s is None else self.deadline_s - time.monotonic()

    def require_time(self) -> None:
        """Raises BudgetExpired if no time is left, so that no useless work begins."""
        if self.remaining_s() <= 0:
            raise BudgetExpired("the request's budget was used up before the work began; set a longer deadline")


def check_tenant(tenant: str, field: str = "context.tenant") -> str:
    """The name of the tenant, "default" if it is empty. Folders and keys bear it, so its alphabet is restricted."""
    name = tenant or DEFAULT_TENANT
    if not _TENANT.fullmatch(name):
        problem = f"{name[:64]!r}: use 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first"
        raise InvalidArgument.of(field, problem)
    if name in RESERVED_TENANTS:
        raise InvalidArgument.of(field, f"{name!r} is reserved; choose another name")
    return name
