"""What plain gRPC servers have in common: TLS by configuration, and API keys that are known by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from pydantic import BaseModel, ConfigDict, model_validator

from services.common.errors import Unauthenticated

_BEARER = "Bearer "


class ServerTlsSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # PEM files. certificate and key enable TLS; client_ca in addition enables mTLS.
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> ServerTlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; set both or none")
        if self.client_ca and not self.certificate:
            raise ValueError("client_ca needs certificate and key")
        return self

    def credentials(self) -> grpc.ServerCredentials | None:
        """None without a certificate. With a client CA, callers must present a certificate that it signed."""
        if self.certificate is None or self.key is None:
            return None
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        client_ca = self.client_ca.read_bytes() if self.client_ca else None
        return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def check_expiry(expires_at_s: float | None, now_s: float) -> None:
    """Raises Unauthenticated from that time on. Seconds since the epoch; None: the key does not expire."""
    if expires_at_s is not None and expires_at_s <= now_s:
        at = datetime.fromtimestamp(expires_at_s, UTC).isoformat(timespec="seconds")
        raise Unauthenticated(f"the API key expired at {at}; use its successor")


def key_digest(metadata: Iterable[tuple[str, Any]]) -> str:
    """The SHA-256 of the sent API key in hex. Raises Unauthenticated if there is none.

    Keys are looked up by it: neither the settings nor response times reveal a key.
    """
    sent = next((value for name, value in metadata if name == "authorization"), "")
    if not isinstance(sent, str) or not sent.startswith(_BEARER):
        raise Unauthenticated('no API key; send the metadata "authorization: Bearer <key>"')
    return hashlib.sha256(sent.removeprefix(_BEARER).encode()).hexdigest()
