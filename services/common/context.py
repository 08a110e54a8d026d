"""Whom a request is for, which one it is, and how much time it has left."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from services.common.errors import BudgetExpired, InvalidArgument

DEFAULT_TENANT = "default"
MAX_REQUEST_ID = 128
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class RequestContext:
    """What every internal call carries.

    `deadline_s` is on the clock of `time.monotonic`; None means no limit.
    """

    request_id: str = ""
    tenant: str = DEFAULT_TENANT
    locale: str = ""
    deadline_s: float | None = None

    def remaining_s(self) -> float:
        """Seconds left; infinity without a limit, negative once it is over."""
        return float("inf") if self.deadline_s is None else self.deadline_s - time.monotonic()

    def require_time(self) -> None:
        """Raise BudgetExpired when nothing is left: no doomed work."""
        if self.remaining_s() <= 0:
            raise BudgetExpired("the request's budget was used up before the work began; send a longer deadline")


def check_tenant(tenant: str, field: str = "context.tenant") -> str:
    """The tenant's name, `default` for an empty one. It names folders and keys, hence the narrow alphabet."""
    name = tenant or DEFAULT_TENANT
    if not _TENANT.fullmatch(name):
        raise InvalidArgument.of(field, f"{tenant!r}: use 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first")
    return name
