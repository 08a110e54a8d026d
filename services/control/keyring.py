"""The API keys in force: those of the settings, and those of published tenants."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError

from services.common.errors import Unauthenticated
from services.common.server_security import check_expiry, key_digest
from services.control.domain.contents import Tenant
from services.control.domain.permissions import ALL_TENANTS, Caller
from services.control.domain.resources import Content
from services.control.settings import SecuritySettings

_log = structlog.get_logger("kairos.control.keyring")


@dataclass(frozen=True)
class _Key:
    caller: Caller
    expires_at_s: float | None = None


class Keyring:
    """Without keys in the settings every caller is an admin of all tenants. `clock` gives seconds since the epoch."""

    def __init__(self, settings: SecuritySettings, clock: Callable[[], float] = time.time) -> None:
        self._configured = {key.sha256: _Key(Caller(key.name, key.tenant, key.role)) for key in settings.api_keys}
        self._published: dict[str, _Key] = {}
        self._clock = clock

    def update(self, tenants: Mapping[str, Content]) -> None:
        """From now on the keys of these tenants apply. A key of two tenants is one of neither."""
        found: dict[str, _Key] = {}
        owners: Counter[str] = Counter()
        for tenant, content in tenants.items():
            try:
                keys = Tenant.model_validate(content).keys
            except ValidationError as error:
                # As a newer version of Kairos wrote it. The other tenants' keys are in force all the same.
                _log.error("the keys of a tenant cannot be read", tenant=tenant, error=str(error))
                continue
            # Publishes of several tenants at the same moment do not see each other: see validation.check_together.
            owners.update(key.sha256 for key in keys)
            for key in keys:
                if key.role is not None:
                    expires_at_s = None if key.expires_at is None else key.expires_at.timestamp()
                    found[key.sha256] = _Key(Caller(key.name, tenant, key.role), expires_at_s)
        self._published = {digest: key for digest, key in found.items() if owners[digest] == 1}

    def caller(self, metadata: Iterable[tuple[str, Any]]) -> Caller:
        """Raises Unauthenticated."""
        if not self._configured:
            return Caller("anyone", ALL_TENANTS, "admin")
        digest = key_digest(metadata)
        key = self._configured.get(digest) or self._published.get(digest)
        if key is None:
            raise Unauthenticated("the API key is unknown here; a key of a tenant needs a `role` for control")
        check_expiry(key.expires_at_s, self._clock())
        return key.caller
