"""Admits calls before their message is received: by API key and role, then by the quotas of the key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from services.gateway.domain.concurrency_limit import ConcurrencyLimit
from services.gateway.domain.quotas import ByteBudget, Pool, TokenBucket
from services.gateway.receiving import Receiver
from services.gateway.security import Authenticator, Caller
from services.gateway.settings import GatewaySettings

_LOGGED_REFUSALS_PER_S = 10


@dataclass(frozen=True)
class Reception:
    """What every call passes. All counts are those of this process."""

    authenticator: Authenticator
    # Calls with one message.
    limit: ConcurrencyLimit
    # Import streams, by tenant.
    import_streams: Pool
    receiver: Receiver
    # Lines in the log about refused calls: a flood of them must not become a flood of lines.
    logged_refusals: TokenBucket

    @classmethod
    def of(cls, settings: GatewaySettings) -> Reception:
        limits, retry_s = settings.limits, settings.limits.retry_after_ms / 1e3
        return cls(
            Authenticator(settings.security, settings.quotas, retry_s),
            ConcurrencyLimit(limits.minimum_in_flight, limits.maximum_in_flight, retry_s),
            Pool("import_streams", limits.import_streams, limits.import_streams_of_a_tenant, retry_s),
            Receiver(ByteBudget(limits.in_flight_mb << 20, retry_s), limits.idle_s),
            TokenBucket(_LOGGED_REFUSALS_PER_S, _LOGGED_REFUSALS_PER_S),
        )

    @contextlib.contextmanager
    def place(self, caller: Caller, is_stream: bool, now_s: float) -> Iterator[None]:
        """Counts a call against the quotas of its key, and holds its place. An import stream also holds one of those of
        its tenant.

        Raises QuotaExceeded or Overloaded.
        """
        quota = caller.quota
        if quota is not None:
            quota.take_call(now_s)
        with contextlib.ExitStack() as held:
            if is_stream:
                held.enter_context(self.import_streams.place(caller.tenant))
            if quota is not None:
                held.enter_context((quota.import_streams if is_stream else quota.calls_in_flight).place(""))
            yield
