"""Keeps the suite to itself: Ray and Serve open most of their ports on all interfaces, and two suites would share some.

Ray's own processes follow the address of the node. Ray replaces a loopback address by the machine's own address,
except where it knows no clusters, as on macOS. Serve's servers have the address of all interfaces in their code.
HAProxy is started by ops/haproxy.sh, which rewrites the addresses in its configuration.
"""

from __future__ import annotations

import functools
import inspect
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
    """Runs in each new process of Ray: its gRPC servers listen on 127.0.0.1 instead of on all interfaces, and a port
    belongs to one process.

    Serve asks for the latter with `("grpc.so_reuseport", "0")`. gRPC ignores a text there, and with its default two
    suites on one machine would share the ports of their replicas: the kernel would give a suite's calls to the other.
    """
    from grpc.aio import _server

    initialize, add_port = _server.Server.__init__, _server.Server.add_insecure_port

    @functools.wraps(initialize)
    def with_numbers(self: Any, *arguments: Any, **named: Any) -> None:
        bound = signature.bind(self, *arguments, **named)
        bound.arguments["options"] = [
            (key, int(value)) if key == "grpc.so_reuseport" else (key, value)
            for key, value in bound.arguments.get("options") or ()
        ]
        initialize(*bound.args, **bound.kwargs)

    def add_local_port(self: Any, address: str) -> int:
        for prefix in _ALL:
            if address.startswith(prefix):
                address = f"127.0.0.1:{address.removeprefix(prefix)}"
        return add_port(self, address)

    signature = inspect.signature(initialize)
    _server.Server.__init__ = with_numbers  # type: ignore[method-assign]
    _server.Server.add_insecure_port = add_local_port  # type: ignore[method-assign]
