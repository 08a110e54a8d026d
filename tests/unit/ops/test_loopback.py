"""The ports of the gRPC servers that Ray's processes start."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import _server

from ops.loopback import listen_on_loopback


async def test_a_port_belongs_to_one_server_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with the options that Serve gives to a replica's server listens on loopback; a second one is refused its
    port.
    """
    for name in ("__init__", "add_insecure_port"):  # restored at the end
        monkeypatch.setattr(_server.Server, name, getattr(_server.Server, name))
    listen_on_loopback()
    options = [("grpc.so_reuseport", "0")]
    first, second = grpc.aio.server(options=options), grpc.aio.server(options=options)
    port = first.add_insecure_port("[::]:0")
    with pytest.raises(RuntimeError):
        second.add_insecure_port(f"[::]:{port}")
    await first.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
    await first.stop(None)
