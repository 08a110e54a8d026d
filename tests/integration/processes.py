"""Processes that are killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_ROOT = Path(__file__).parents[2]
# For a process to start, and for another one to get on, on a busy machine.
_PATIENCE_S = 60.0


class Process:
    """A process that is killed and started again. `lines`: what it printed, without its log."""

    _log = subprocess.DEVNULL

    def __init__(self, *module: str, **environment: str) -> None:
        self._command, self._environment = [sys.executable, "-m", *module], {**os.environ, **environment}
        self.lines: list[str] = []
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=_ROOT,
            env=self._environment,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            self.lines.extend(map(str.strip, lines))


Kind = TypeVar("Kind", bound=Process)


@contextmanager
def started(process: Kind) -> Iterator[Kind]:
    try:
        yield process
    finally:
        process.kill()


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)  # until another process has got on


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
