"""Admits calls before their message is received: by API key and role, quotas, and room."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from services.gateway.domain.criticality import CONVERSE, EVENT_METHODS, SHOPPER_METHODS, patience_of
from services.gateway.domain.quotas import ByteBudget, Pool, TokenBucket
from services.gateway.receiving import Receiver
from services.gateway.request_info import RequestInfo
from services.gateway.security import Authenticator, Caller
from services.gateway.settings import GatewaySettings
from services.gateway.stage_calls import StageAccess

_LOGGED_REFUSALS_PER_S = 10


@dataclass(frozen=True)
class Reception:
    """What every call passes. All counts are those of this process."""

    authenticator: Authenticator
    # Has the limit of shoppers' calls.
    access: StageAccess
    # Calls with one message that are not shoppers': events have places of their own, so that nothing takes them.
    event_calls: Pool
    other_calls: Pool
    # Import streams, and turns of conversations, by tenant.
    import_streams: Pool
    conversations: Pool
    receiver: Receiver
    # Lines in the log about refused calls: a flood of them must not become a flood of lines.
    logged_refusals: TokenBucket

    @classmethod
    def of(cls, settings: GatewaySettings, access: StageAccess, authenticator: Authenticator) -> Reception:
        limits, retry_s = settings.limits, settings.limits.retry_after_ms / 1e3
        return cls(
            authenticator,
            access,
            Pool("event_calls", limits.event_calls, limits.event_calls, retry_s),
            Pool("other_calls", limits.other_calls, limits.other_calls, retry_s),
            Pool("import_streams", limits.import_streams, limits.import_streams_of_a_tenant, retry_s),
            Pool("conversations", limits.conversations, limits.conversations_of_a_tenant, retry_s),
            Receiver(ByteBudget(limits.in_flight_mb << 20, retry_s), limits.idle_s),
            TokenBucket(_LOGGED_REFUSALS_PER_S, _LOGGED_REFUSALS_PER_S),
        )

    @contextlib.contextmanager
    def place(self, method: str, caller: Caller, is_stream: bool, now_s: float) -> Iterator[None]:
        """Counts a call against the quotas of its key, and holds its place. An import stream also holds one of those of
        its tenant.

        A turn of a conversation holds one of the conversations of its tenant, and none of those of its key: the calls
        that the assistant makes for it, with the same key, need them. Raises QuotaExceeded or Overloaded.
        """
        quota = caller.quota
        if quota is not None:
            quota.take_call(now_s)
        with contextlib.ExitStack() as held:
            if method == CONVERSE:
                held.enter_context(self.conversations.place(caller.tenant))
                yield
                return
            if is_stream:
                held.enter_context(self.import_streams.place(caller.tenant))
            if quota is not None:
                held.enter_context((quota.import_streams if is_stream else quota.calls_in_flight).place(""))
            yield

    def require_room(self, method: str, remaining_s: float | None) -> None:
        """Before the message is received: raises Overloaded if the call would be refused when it is.

        `remaining_s`: until the caller's deadline; None without one.
        """
        if method in SHOPPER_METHODS:
            self.access.limit.require_room(self.access.budget_s(remaining_s), patience_of(method))

    @contextlib.asynccontextmanager
    async def working(self, method: str, message: Any, info: RequestInfo) -> AsyncIterator[None]:
        """Holds a place for the work on a call with one message. Raises Overloaded at once if there is none.

        A turn of a conversation has its place already.
        """
        if method == CONVERSE:
            yield
            return
        if method not in SHOPPER_METHODS:
            pool = self.event_calls if method in EVENT_METHODS else self.other_calls
            with pool.place(""):
                yield
            return
        given_s = None if info.deadline_s is None else info.deadline_s - info.received_s
        remaining_s, patience = self.access.budget_s(given_s), patience_of(method, message)
        async with self.access.limit.place(method, remaining_s, patience, info.work):
            yield
