"""How a process calls a server that has API keys: its address, a key and certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import grpc
from pydantic import BaseModel, ConfigDict, SecretStr, model_validator


class ServerAccessSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # host:port.
    target: str
    # Empty: the server has no keys.
    api_key: SecretStr = SecretStr("")
    # PEM files. ca: the authority of the server's certificate; it turns TLS on. certificate and key: for mTLS.
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; set both or none")
        if self.certificate and not self.ca:
            raise ValueError("certificate needs ca, the authority of the server's certificate")
        return self

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        key = self.api_key.get_secret_value()
        return (("authorization", f"Bearer {key}"),) if key else ()

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: without TLS."""
        if self.ca is None:
            return None
        key, certificate = (path.read_bytes() if path else None for path in (self.key, self.certificate))
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)

    def connect_async(self, options: Sequence[tuple[str, int]] = ()) -> grpc.aio.Channel:
        """A channel of the running event loop. `options`: of gRPC."""
        credentials = self.credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self.target, options)
        return grpc.aio.secure_channel(self.target, credentials, options)

    def connect(self, options: Sequence[tuple[str, int]] = ()) -> grpc.Channel:
        """A blocking channel. `options`: of gRPC."""
        credentials = self.credentials()
        if credentials is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, credentials, options)
