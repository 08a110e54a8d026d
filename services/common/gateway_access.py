"""How a process beside the suite calls the gateway: its address, a key and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import grpc
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_OPTIONS = [
    # A page of products with the longest descriptions.
    ("grpc.max_receive_message_length", 64 << 20),
    # By default gRPC would try to reach a gateway that was down for long only every two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


class GatewayAccessSettings(BaseModel):
    """The gateway, and how to call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # host:port.
    target: str = "127.0.0.1:50050"
    # A key with the role `write`; its tenant is the one that is worked for. Empty: the gateway has no keys.
    api_key: SecretStr = SecretStr("")
    # PEM files. ca: the authority of the gateway's certificate; it turns TLS on. certificate and key: for mTLS.
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    # Seconds that a call may take.
    timeout_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; set both or none")
        if self.certificate and not self.ca:
            raise ValueError("certificate needs ca, the authority of the gateway's certificate")
        return self

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        key = self.api_key.get_secret_value()
        return (("authorization", f"Bearer {key}"),) if key else ()

    def channel(self) -> grpc.Channel:
        if self.ca is None:
            return grpc.insecure_channel(self.target, _OPTIONS)
        key, certificate = (path.read_bytes() if path else None for path in (self.key, self.certificate))
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)
        return grpc.secure_channel(self.target, credentials, _OPTIONS)
