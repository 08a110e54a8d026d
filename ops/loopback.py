"""Keeps the suite on this machine: Ray and Serve open most of their ports on all interfaces.

Ray's own processes follow the address of the node. Ray replaces a loopback address by the machine's own address,
except where it knows no clusters, as on macOS. Serve's servers have the address of all interfaces in their code.
HAProxy is started by ops/haproxy.sh, which rewrites the addresses in its configuration.
"""

from __future__ import annotations

from typing import Any

# Import path of `listen_on_loopback`, for Ray's `worker_process_setup_hook`.
SETUP_HOOK = "ops.loopback.listen_on_loopback"
_ALL = ("[::]:", "0.0.0.0:")


def use_loopback_address() -> None:
    """Call it before `ray.init`, also in a process that only connects.

    Without this name of Ray's, the ports are open again, which tests/e2e finds.
    """
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False


def listen_on_loopback() -> None:
    """Runs in each new process of Ray: its gRPC servers listen on 127.0.0.1 instead of on all interfaces."""
    from grpc.aio import _server

    add_port = _server.Server.add_insecure_port

    def add_local_port(self: Any, address: str) -> int:
        for prefix in _ALL:
            if address.startswith(prefix):
                address = f"127.0.0.1:{address.removeprefix(prefix)}"
        return add_port(self, address)

    _server.Server.add_insecure_port = add_local_port  # type: ignore[method-assign]
