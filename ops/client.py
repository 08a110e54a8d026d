"""A client of the gateway over gRPC, for the `kairos` command, imports and the tour."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kairos.gateway.v1 import gateway_pb2_grpc


@dataclass(frozen=True)
class Connection:
    """Address of the gateway, credentials, and the deadline of a call in seconds."""

    target: str = "127.0.0.1:50050"
    api_key: str = ""
    timeout_s: float = 2.0
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    @contextmanager
    def stub(self) -> Iterator[gateway_pb2_grpc.GatewayServiceStub]:
        with self.channel() as channel:
            yield gateway_pb2_grpc.GatewayServiceStub(channel)

    def channel(self) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
        if self.tls_ca is None and self.tls_cert is None:
            return grpc.insecure_channel(self.target, options)
        credentials = grpc.ssl_channel_credentials(
            self.tls_ca.read_bytes() if self.tls_ca else None,
            self.tls_key.read_bytes() if self.tls_key else None,
            self.tls_cert.read_bytes() if self.tls_cert else None,
        )
        return grpc.secure_channel(self.target, credentials, options)


def explain_error(error: grpc.RpcError) -> str:
    """The error as text, with a line for each wrong field."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    lines = [f"{error.code().name}: {error.details()}"]
    for detail in status.details if status else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            lines = ["the request was refused:"]
            lines += [f"  {violation.field}: {violation.description}" for violation in bad.field_violations]
    return "\n".join(lines)
