"""A client of the gateway over gRPC, for the `kairos` command, imports and the tour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    if wrong := field_violations(error):
        return "\n".join(["the request was refused:", *(f"  {field}: {reason}" for field, reason in wrong)])
    return f"{error.code().name}: {error.details()}"


def field_violations(error: grpc.RpcError) -> list[tuple[str, str]]:
    """(path, reason) of each wrong field that the error names."""
    bad = error_details_pb2.BadRequest()
    found = any(detail.Unpack(bad) for detail in _details(error))
    return [(wrong.field, wrong.description) for wrong in bad.field_violations] if found else []


def retry_after_s(error: grpc.RpcError) -> float | None:
    """Seconds after which to send the request again; None if the error does not say."""
    retry = error_details_pb2.RetryInfo()
    found = any(detail.Unpack(retry) for detail in _details(error))
    return retry.retry_delay.ToNanoseconds() / 1e9 if found else None


def reason_of(error: grpc.RpcError) -> str:
    """The reason that the suite gives; empty for an error that gRPC made, such as the caller's own time-out."""
    info = error_details_pb2.ErrorInfo()
    return str(info.reason) if any(detail.Unpack(info) for detail in _details(error)) else ""


def _details(error: grpc.RpcError) -> Sequence[Any]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    return status.details if status else ()
