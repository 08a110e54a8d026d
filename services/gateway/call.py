"""The public call that is being served: who calls, for whom, and until when."""

from __future__ import annotations

import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

from services.common.context import DEFAULT_TENANT, RequestContext


@dataclass(frozen=True)
class CallInfo:
    """Set by the server for each call. Times are on the clock of `time.monotonic`, in seconds."""

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tenant: str = DEFAULT_TENANT
    received_s: float = field(default_factory=time.monotonic)
    # None: the caller set no deadline.
    deadline_s: float | None = None

    def context(self, deadline_s: float | None = None, locale: str = "") -> RequestContext:
        """What goes to a stage that must answer by `deadline_s`."""
        return RequestContext(self.request_id, self.tenant, locale, deadline_s)


current_call: ContextVar[CallInfo] = ContextVar("current_call")
