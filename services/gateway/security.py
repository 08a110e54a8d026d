"""API keys with tenant and role."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from kairos.control.v1 import control_pb2
from services.common.context import DEFAULT_TENANT
from services.common.errors import PermissionDenied, Unauthenticated
from services.common.server_security import check_expiry, key_digest
from services.gateway.convert import published_access
from services.gateway.domain.quotas import KeyLimits, KeyQuota
from services.gateway.domain.tenant_access import Role
from services.gateway.settings import GatewaySettings

_log = structlog.get_logger("kairos.security")

# Methods that change the catalogue, and methods that show, move or remove persons' data, need a key with the role
# `write`. RecordEvents does not: every front end sends events.
_WRITES = frozenset(
    {
        "ImportProducts",
        "DeleteProducts",
        "ImportProductReviews",
        "SetReviewSummaries",
        "ListProducts",
        "UpdateOffers",
        "DescribeCollections",
        "BeginReembedding",
        "ReembedProducts",
        "StoreEmbeddings",
        "CheckEmbeddings",
        "SwitchCollections",
        "DropCollection",
        "ReadLog",
        "DescribeItemVectors",
        "BeginItemVectors",
        "StoreItemVectors",
        "DropItemVectors",
        "GetProfile",
        "SetUserAttributes",
        "MergeUsers",
        "DeleteUser",
        "ExportUser",
        "ExplainItem",
        "PreviewRules",
        "ImportFaqEntries",
        "DeleteFaqEntries",
        "ListFaqEntries",
    }
)


@dataclass(frozen=True)
class Caller:
    """Who calls: the tenant and the role of the API key, and its quota. Without API keys nobody has a quota."""

    tenant: str = DEFAULT_TENANT
    role: Role = "write"
    # The digest of the key; empty without keys.
    key: str = ""
    quota: KeyQuota | None = None


@dataclass(frozen=True)
class _Key:
    caller: Caller
    # Seconds since the epoch. None: it does not expire.
    expires_at_s: float | None = None


class Authenticator:
    """The callers by the SHA-256 of their keys: keys of the settings, and those that control publishes for a tenant.

    A key of the settings wins over a published one with the same digest: what somebody publishes for a tenant must not
    move the callers of another one. A key that two tenants have published is one of neither. `clock` gives seconds
    since the epoch.
    """

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float]) -> None:
        self._security, self._quotas, self._clock = settings.security, settings.quotas, clock
        self._retry_after_s = settings.limits.retry_after_ms / 1e3
        self._configured: dict[str, _Key] = {}
        self._configured = self._keys_of_settings({}, {key.tenant for key in self._security.api_keys})
        # By tenant, then by digest; and the tenants of each digest.
        self._published: dict[str, Mapping[str, _Key]] = {}
        self._owners: dict[str, list[str]] = {}

    def caller(self, method: str, metadata: Iterable[tuple[str, Any]]) -> Caller:
        """The caller by its key. Raises Unauthenticated or PermissionDenied."""
        if self._security.accepts_everybody:
            return Caller()
        digest = key_digest(metadata)
        key = self._configured.get(digest) or self._published_key(digest)
        if key is None:
            raise Unauthenticated("the API key is unknown")
        check_expiry(key.expires_at_s, self._clock())
        if method in _WRITES and key.caller.role != "write":
            raise PermissionDenied(f"{method} needs an API key with the role 'write'")
        return key.caller

    def check_still(self, caller: Caller, method: str, metadata: Iterable[tuple[str, Any]]) -> None:
        """For the next message of a stream: raises as `caller` does, also if the key has gone to another tenant."""
        if self.caller(method, metadata).tenant != caller.tenant:
            raise Unauthenticated("the API key belongs to another tenant now; call again")

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare. A key that stays keeps what it has used of its quota, unless the quota changes."""
        tenant, access = snapshot.tenant, published_access(snapshot)
        before = self._published.get(tenant, {})
        limits = replace(self._quotas.limits, **access.quotas)
        keys = {
            key.sha256: _Key(
                Caller(tenant, key.role, key.sha256, self._quota(before.get(key.sha256), limits)), key.expires_at_s
            )
            for key in access.keys
        }
        configured = self._keys_of_settings(access.quotas, {tenant})

        def use() -> None:
            self._configured.update(configured)
            self._publish(tenant, keys)

        return use

    def _published_key(self, digest: str) -> _Key | None:
        owners = self._owners.get(digest, ())
        return self._published[owners[0]][digest] if len(owners) == 1 else None

    def _publish(self, tenant: str, keys: Mapping[str, _Key]) -> None:
        before = self._published.pop(tenant, {})
        for digest in before.keys() - keys.keys():
            self._owners[digest].remove(tenant)
            if not self._owners[digest]:
                del self._owners[digest]
        for digest in keys.keys() - before.keys():
            self._owners.setdefault(digest, []).append(tenant)
        if keys:
            self._published[tenant] = keys
        if before.keys() == keys.keys():
            return
        _log.info("API keys in force", tenant=tenant, published=len(keys))
        if keys and self._security.accepts_everybody:
            _log.warning("published API keys are not required; set security.api_keys_required", tenant=tenant)
        if doubled := [d for d in keys if d in self._configured or len(self._owners[d]) > 1]:
            _log.warning("API keys of a tenant are in the settings, or of another tenant, too", digests=doubled[:10])

    def _keys_of_settings(self, published_quotas: Mapping[str, Any], tenants: Collection[str]) -> dict[str, _Key]:
        """Those of these tenants. A key's own quota is before the published one of its tenant."""
        found: dict[str, _Key] = {}
        for key in self._security.api_keys:
            if key.tenant in tenants:
                limits = replace(self._quotas.limits, **{**published_quotas, **key.quotas})
                quota = self._quota(self._configured.get(key.sha256), limits)
                found[key.sha256] = _Key(Caller(key.tenant, key.role, key.sha256, quota))
        return found

    def _quota(self, before: _Key | None, limits: KeyLimits) -> KeyQuota:
        if before is not None and before.caller.quota is not None and before.caller.quota.limits == limits:
            return before.caller.quota
        return KeyQuota(limits, self._quotas.burst_s, self._retry_after_s)
