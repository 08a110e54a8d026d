"""Decodes images in processes that can be ended: a decoder in C cannot be interrupted, and may crash.

Not `multiprocessing`, and so neither pebble nor loky: their new processes import the main module of this one, which in
a replica is Ray's. A worker takes 30 MB and 0.2 s to start, with Ray 80 MB and 1.1 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict

import numpy as np

from services.common.errors import InvalidArgument
from services.query_encoder.adapters.image_worker import LENGTH_BYTES, PIXELS, READY
from services.query_encoder.domain.image import ImageLimits, Preprocessing
from services.query_encoder.ports import Pixels

# Seconds that a new process may take until it can decode, on a busy machine.
_START_S = 30.0
# For glibc: a process keeps up to 64 MiB from one image to the next. To get the pages of a small image from the kernel
# each time would take a third of its CPU time.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


class ImageProcesses:
    """See ports.ImageReader. Has as many processes as threads call at once; one is started before the first call."""

    def __init__(self, preprocessing: Preprocessing, limits: ImageLimits, limit_s: float) -> None:
        self._shape = (preprocessing.height, preprocessing.width, 3)
        self._limits, self._limit_s = limits, limit_s
        self._settings = json.dumps(
            {"preprocessing": asdict(preprocessing), "limits": asdict(limits), "cpu_s": limit_s}
        )
        self._idle = deque([_Process(self._settings)])

    def read(self, data: bytes, field: str, limit_s: float) -> Pixels:
        if len(data) > self._limits.max_bytes:
            raise InvalidArgument.of(field, f"has {len(data)} bytes; at most {self._limits.max_bytes}")
        process = self._take()
        try:
            kind, body = process.decode(data, min(limit_s, self._limit_s))
        except TimeoutError:
            problem = f"takes more than {self._limit_s:g} s to decode; send a smaller or simpler image"
            raise InvalidArgument.of(field, problem) from None
        except ConnectionError:
            raise InvalidArgument.of(field, "cannot be decoded: the decoder ended; send another file") from None
        finally:
            # A process that has not answered is not used again; its successor starts before it is needed.
            self._idle.append(process if process.is_free else _Process(self._settings))
        if kind != PIXELS:
            raise InvalidArgument.of(field, body.decode(errors="replace"))
        return np.frombuffer(body, np.uint8).reshape(self._shape)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().end()

    def _take(self) -> _Process:
        """The process that was used last, or a new one if all are in use."""
        try:
            while (process := self._idle.pop()).has_ended:
                process.end()
            return process
        except IndexError:
            return _Process(self._settings)


class _Process:
    def __init__(self, settings: str) -> None:
        self._socket, its = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", **_MALLOC}
        command = [sys.executable, "-m", "services.query_encoder.adapters.image_worker", settings]
        with its:
            self._process = subprocess.Popen(command, stdin=its.fileno(), env=environment)
        self._is_ready, self.is_free = False, True

    def decode(self, data: bytes, limit_s: float) -> tuple[bytes, bytes]:
        """Raises TimeoutError and ConnectionError; the process has then ended."""
        self.is_free = False
        try:
            self._wait_ready()
            deadline_s = time.monotonic() + limit_s
            self._socket.settimeout(limit_s)
            self._socket.sendall(len(data).to_bytes(LENGTH_BYTES) + data)
            head = self._receive(1 + LENGTH_BYTES, deadline_s)
            body = self._receive(int.from_bytes(head[1:]), deadline_s)
        except OSError:
            self.end()
            raise
        self.is_free = True
        return head[:1], body

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._socket.close()

    def _wait_ready(self) -> None:
        """Raises RuntimeError if the process cannot start: that is no fault of the image."""
        if self._is_ready:
            return
        try:
            self._is_ready = self._receive(1, time.monotonic() + _START_S) == READY
        except OSError:
            self.end()
            raise RuntimeError(f"a process for images did not start (exit code {self._process.returncode})") from None

    def _receive(self, size: int, deadline_s: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._socket.settimeout(max(1e-3, deadline_s - time.monotonic()))
            part = self._socket.recv(min(size - len(received), 1 << 20))
            if not part:
                raise ConnectionResetError
            received += part
        return bytes(received)
