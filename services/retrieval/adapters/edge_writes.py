"""Writes to a folder of Edge collections, and the moment without any in which another process may copy the folder.

    <data_dir>/writes    a write holds it shared, who copies holds it alone

Searches take no lock and go on. Between two writes, what lies on the disk is what the process would find after its own
death: the shard's write-ahead log makes it whole when it is opened.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.005


class Writes:
    """`with` it, one write at a time happens in this process, and none while the folder is copied."""

    def __init__(self, data_dir: Path) -> None:
        self._one = threading.Lock()
        self._file = (data_dir / "writes").open("a")

    def __enter__(self) -> None:
        self._one.acquire()
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._one.release()


@contextmanager
def writes_paused(data_dir: Path, timeout_s: float) -> Iterator[None]:
    """Writes of whichever process wait meanwhile. Raises TimeoutError where they leave no gap for so long."""
    deadline = time.monotonic() + timeout_s
    with (data_dir / "writes").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{data_dir} was written to for {timeout_s:.0f} s without a gap") from None
                time.sleep(_POLL_S)
        yield


def is_nameless(folder: Path) -> bool:
    """Whether it is a generation that no manifest names: one being made, or one that was replaced."""
    if not folder.name.startswith("generation-"):
        return False
    manifest = folder.parent / "manifest.json"
    return not manifest.exists() or json.loads(manifest.read_text())["generation"] != folder.name
