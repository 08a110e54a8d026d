"""Writes to a folder of Edge collections, and pauses in which another process may copy the folder.

    <data_dir>/writes    a write holds it shared, a copy holds it alone
    <data_dir>/gate      a copy that waits holds it alone: writes that have not begun wait for it

Searches take no lock and go on. Between two writes the disk holds what the process would find after a crash: the
shard's write-ahead log completes it when it is opened.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_POLL_S = 0.005
# A write waits for a copy no longer than this: a write that is part of another one must not wait for that one's end.
_MAX_GATE_WAIT_S = 1.0


class Writes:
    """A context manager: one write at a time in this process, and none while the folder is copied."""

    def __init__(self, data_dir: Path) -> None:
        self._one = threading.Lock()
        self._file, self._gate = (data_dir / "writes").open("a"), (data_dir / "gate").open("a")

    def __enter__(self) -> None:
        self._one.acquire()
        deadline = time.monotonic() + _MAX_GATE_WAIT_S
        while not _acquired(self._gate, fcntl.LOCK_SH) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._one.release()


@contextmanager
def writes_paused(data_dir: Path, timeout_s: float) -> Iterator[None]:
    """Writes of all processes wait meanwhile. Raises TimeoutError if they leave no gap within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    with (data_dir / "writes").open("a") as file, (data_dir / "gate").open("a") as gate:
        while not (_acquired(gate, fcntl.LOCK_EX) and _acquired(file, fcntl.LOCK_EX)):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{data_dir} was written to for {timeout_s:.0f} s without a gap")
            time.sleep(_POLL_S)
        yield


def _acquired(file: IO[str], kind: int) -> bool:
    """Whether this process holds the lock now: acquired at once, or held before."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
