"""The key that seals page and attribution tokens: the configured one, else the one that all gateways share.

Without a configured key the ranker's store keeps one: the key that the first gateway proposed. Until the ranker has
answered, a gateway seals with the random key that it proposes. Its own earlier tokens stay valid for it; another
gateway refuses them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import structlog

from kairos.ranker.v1 import ranker_pb2
from services.common.context import DEFAULT_TENANT
from services.common.errors import KairosError
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess

_TIMEOUT_S = 5.0
# Between two questions, before the first answer and afterwards: a restored store may hold another key.
_RETRY_S, _REFRESH_S = 1.0, 60.0
# The longest that the start of a gateway waits for the first answer.
_START_S = 1.0
_BYTES = 32

_log = structlog.get_logger("kairos.tokens")


class TokenKeys:
    """`configured`: the key of the settings; empty: none."""

    def __init__(self, stubs: StageStubs, access: StageAccess, supervisor: Supervisor, configured: str = "") -> None:
        self._stubs, self._access, self._supervisor, self._is_configured = stubs, access, supervisor, bool(configured)
        # The first one seals, all of them are accepted.
        self._keys: tuple[str, ...] = (configured or secrets.token_urlsafe(_BYTES),)
        self._asked = asyncio.Event()

    async def start(self) -> None:
        """Asks the ranker once, for a second at most, then in the background; not at all if a key is configured."""
        if self._is_configured:
            return
        self._supervisor.keep("token_key", self._refresh_forever)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), _START_S)

    def of(self, tenant: str) -> tuple[str, ...]:
        """The keys for a tenant's tokens: no tenant accepts those of another one. The first one seals."""
        return tuple(f"{tenant} {key}" for key in self._keys)

    async def refresh(self) -> None:
        """Takes over the stored key. Raises KairosError."""
        calls = self._access.for_background("token-key", DEFAULT_TENANT, _TIMEOUT_S)
        ask = ranker_pb2.EnsureTokenKeyRequest(proposed_key=self._keys[0])
        stored = (await calls.call(Stage.RANKER, self._stubs.ranker.EnsureTokenKey, ask)).key
        if stored != self._keys[0]:
            self._keys = (stored, self._keys[0])

    async def _refresh_forever(self) -> None:
        while True:
            pause_s = _REFRESH_S
            try:
                await self.refresh()
            except KairosError as error:  # the keys stay
                pause_s = _RETRY_S
                _log.info("no token key from the ranker", error=str(error))
            finally:
                self._asked.set()
            await asyncio.sleep(pause_s)
