"""How a process beside the suite calls the gateway."""

from __future__ import annotations

import grpc
from pydantic import Field, SecretStr

from services.common.server_access import ServerAccessSettings

_OPTIONS = [
    # A page of products with the longest descriptions.
    ("grpc.max_receive_message_length", 64 << 20),
    # By default gRPC would try to reach a gateway that was down for long only every two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


class GatewayAccessSettings(ServerAccessSettings):
    """The gateway, and how to call it."""

    target: str = "127.0.0.1:50050"
    # A key with the role `write`; its tenant is the one that is worked for. Empty: the gateway has no keys.
    api_key: SecretStr = SecretStr("")
    # Seconds that a call may take.
    timeout_s: float = Field(default=30.0, gt=0)

    def channel(self) -> grpc.Channel:
        return self.connect(_OPTIONS)
