"""API keys with tenant and role."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from services.common.context import DEFAULT_TENANT
from services.common.errors import PermissionDenied, Unauthenticated
from services.common.server_security import key_digest
from services.gateway.domain.quotas import KeyQuota
from services.gateway.settings import QuotaSettings, Role, SecuritySettings

# Methods that change the catalogue, and methods that show, move or remove persons' data, need a key with the role
# `write`. RecordEvents does not: every front end sends events.
_WRITES = frozenset(
    {
        "ImportProducts",
        "DeleteProducts",
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


class Authenticator:
    """The callers by the SHA-256 of their keys."""

    def __init__(self, settings: SecuritySettings, quotas: QuotaSettings, retry_after_s: float) -> None:
        self._callers = {
            key.sha256: Caller(key.tenant, key.role, key.sha256, quotas.of(key, retry_after_s))
            for key in settings.api_keys
        }

    def caller(self, method: str, metadata: Iterable[tuple[str, Any]]) -> Caller:
        """The caller by its key. Raises Unauthenticated or PermissionDenied."""
        if not self._callers:
            return Caller()
        caller = self._callers.get(key_digest(metadata))
        if caller is None:
            raise Unauthenticated("the API key is unknown")
        if method in _WRITES and caller.role != "write":
            raise PermissionDenied(f"{method} needs an API key with the role 'write'")
        return caller
