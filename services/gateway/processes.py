"""Several gateway processes on one port: a parent starts them, restarts what ends, and shows their metrics as one.

The kernel gives each new connection to one of them (SO_REUSEPORT). The parent serves no calls. It starts new programs
instead of forking, which gRPC does not survive. Each worker keeps its metrics in files that the parent adds up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from types import FrameType

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, multiprocess, start_http_server, values

from services.gateway.settings import GatewaySettings

_POLL_S = 0.2
# A worker that ends soon after its start is started again later and later.
_HEALTHY_AFTER_S = 30.0
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 10.0
# Beyond the two drains of a stop, after which a worker is killed.
_STOP_GRACE_S = 5.0
_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"

_log = structlog.get_logger("kairos.processes")


def run_processes(settings: GatewaySettings) -> None:
    """Until SIGTERM or SIGINT; then every worker drains. Raises OSError if the port is taken."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    with tempfile.TemporaryDirectory(prefix="kairos-gateway-") as folder, _reserved(settings) as held:
        environment = {
            **os.environ, _METRICS_DIR: folder, "KAIROS_GATEWAY_SERVER__PORT": str(held.getsockname()[1]),
        }  # fmt: skip
        if settings.metrics.port:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
            start_http_server(settings.metrics.port, settings.metrics.host, registry=registry)
        workers = [_Worker(number, environment) for number in range(settings.server.processes)]
        _log.info("starting", port=held.getsockname()[1], processes=len(workers))
        while not stop.wait(_POLL_S):
            for worker in workers:
                worker.keep_running()
        _stop(workers, 2 * settings.server.drain_s + _STOP_GRACE_S)


def become_worker(number: int) -> None:
    """Call it before the first metric is made. The files of metrics have the worker's number in their names and not its
    process id: a restarted worker goes on counting, and there are never more files.
    """
    values.ValueClass = prometheus_client.values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


async def parent_ended() -> None:
    """Returns when the parent has been killed: nothing would end this worker."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(1)


class _Worker:
    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self._number, self._environment = number, environment
        self._started_s, self._restart_at_s, self._backoff_s = 0.0, 0.0, _MIN_BACKOFF_S
        self.process: subprocess.Popen[bytes] | None = None

    def keep_running(self) -> None:
        """Starts the process if it does not run and its back-off is over."""
        now_s = time.monotonic()
        if self.process is not None:
            if (code := self.process.poll()) is None:
                return
            if now_s - self._started_s > _HEALTHY_AFTER_S:
                self._backoff_s = _MIN_BACKOFF_S
            _log.warning("a worker ended", worker=self._number, exit_code=code, restart_in_s=self._backoff_s)
            # What it had in progress is gone.
            multiprocess.mark_process_dead(self._number, self._environment[_METRICS_DIR])  # type: ignore[no-untyped-call]
            self.process, self._restart_at_s = None, now_s + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, _MAX_BACKOFF_S)
        if now_s >= self._restart_at_s:
            command = [sys.executable, "-m", "services.gateway", "--worker", str(self._number)]
            self.process, self._started_s = subprocess.Popen(command, env=self._environment), now_s


def _stop(workers: list[_Worker], grace_s: float) -> None:
    running = [worker.process for worker in workers if worker.process is not None]
    for process in running:
        process.terminate()
    until_s = time.monotonic() + grace_s
    for process in running:
        try:
            process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reserved(settings: GatewaySettings) -> socket.socket:
    """A socket that holds the port without listening: a second gateway cannot take it, and the workers can share it."""
    host, port = settings.server.host.strip("[]"), settings.server.port
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(address)
    return held
