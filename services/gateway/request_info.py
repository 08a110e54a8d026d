"""The public request that is being served: its id, its tenant, its caller's role and its deadline."""

from __future__ import annotations

import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from services.common.context import DEFAULT_TENANT, RequestContext
from services.common.visibility import GENERAL, Viewing
from services.gateway.domain.slowdown import Work


@dataclass(frozen=True)
class RequestInfo:
    """`rpc_method` sets it for each call. Times are in seconds on the clock of `time.monotonic`."""

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tenant: str = DEFAULT_TENANT
    received_s: float = field(default_factory=time.monotonic)
    # None: the caller set no deadline.
    deadline_s: float | None = None
    # Of the caller's API key; "write" if the gateway has no keys.
    role: Literal["read", "write"] = "read"
    # The caller's metadata of this name, for the assistant, which calls the gateway for the caller. Never logged.
    authorization: str = field(default="", repr=False)
    # The stage calls so far.
    work: Work = field(default_factory=Work)

    def context(
        self,
        deadline_s: float | None = None,
        locale: str = "",
        arms: tuple[tuple[str, str], ...] = (),
        viewing: Viewing = GENERAL,
    ) -> RequestContext:
        """The context of a call to a stage that must answer by `deadline_s`. `arms`: (experiment, arm)."""
        return RequestContext(self.request_id, self.tenant, locale, deadline_s, arms, viewing)


current_request: ContextVar[RequestInfo] = ContextVar("current_request")
