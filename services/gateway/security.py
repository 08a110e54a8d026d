"""API keys with tenant and role, and TLS or mTLS by configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from services.common.context import DEFAULT_TENANT
from services.common.errors import PermissionDenied, Unauthenticated
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
_BEARER = "Bearer "


@dataclass(frozen=True)
class Caller:
    """Who calls: the tenant and the role of the API key, and its quota. Without API keys nobody has a quota."""

    tenant: str = DEFAULT_TENANT
    role: Role = "write"
    # The digest of the key; empty without keys.
    key: str = ""
    quota: KeyQuota | None = None


class Authenticator:
    """Keys are looked up by their SHA-256: neither the settings nor response times reveal a key."""

    def __init__(self, settings: SecuritySettings, quotas: QuotaSettings, retry_after_s: float) -> None:
        self._callers = {
            key.sha256: Caller(key.tenant, key.role, key.sha256, quotas.of(key, retry_after_s))
            for key in settings.api_keys
        }

    def caller(self, method: str, metadata: Iterable[tuple[str, Any]]) -> Caller:
        """The caller by its key. Raises Unauthenticated or PermissionDenied."""
        if not self._callers:
            return Caller()
        sent = next((value for name, value in metadata if name == "authorization"), "")
        if not isinstance(sent, str) or not sent.startswith(_BEARER):
            raise Unauthenticated('no API key; send the metadata "authorization: Bearer <key>"')
        caller = self._callers.get(hashlib.sha256(sent.removeprefix(_BEARER).encode()).hexdigest())
        if caller is None:
            raise Unauthenticated("the API key is unknown")
        if method in _WRITES and caller.role != "write":
            raise PermissionDenied(f"{method} needs an API key with the role 'write'")
        return caller


def server_credentials(settings: SecuritySettings) -> grpc.ServerCredentials | None:
    """None without a certificate. With a client CA, callers must present a certificate that it signed."""
    if settings.certificate is None or settings.key is None:
        return None
    pair = (settings.key.read_bytes(), settings.certificate.read_bytes())
    client_ca = settings.client_ca.read_bytes() if settings.client_ca else None
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
