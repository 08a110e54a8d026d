"""A process that decodes images, one after the other, for adapters/image_processes.

`python -m services.query_encoder.adapters.image_worker SETTINGS`, with a socket as standard input. It reads an image as
its length (8 bytes) and its bytes. It answers with a byte, a length and a body: the pixels, or why there are none. It
limits its own memory, and the CPU time of each image: the kernel ends it beyond them. It ends with its parent.
"""

from __future__ import annotations

import json
import math
import resource
import socket
import sys
from typing import Any

from PIL import Image

from services.common.errors import InvalidArgument
from services.query_encoder.domain.image import ImageLimits, Preprocessing, decode

READY, PIXELS, PROBLEM = b"R", b"P", b"X"
LENGTH_BYTES = 8
# Bytes of memory for one image, on top of what the process has without any: for each pixel, and besides. WebP takes
# most.
_PIXEL_BYTES, _MORE_BYTES = 24, 128 << 20


def main() -> None:
    given: dict[str, Any] = json.loads(sys.argv[1])
    limits = ImageLimits(**given["limits"])
    preprocessing = Preprocessing(**given["preprocessing"])
    # The decoders are loaded before the memory is limited.
    Image.init()
    _limit_memory(_PIXEL_BYTES * limits.max_pixels + _MORE_BYTES)
    with socket.socket(fileno=0) as parent:
        parent.sendall(READY)
        with parent.makefile("rb") as received:
            while head := received.read(LENGTH_BYTES):
                data = received.read(int.from_bytes(head))
                _limit_cpu(given["cpu_s"])
                kind, body = _answer(data, limits, preprocessing)
                parent.sendall(kind + len(body).to_bytes(LENGTH_BYTES) + body)


def _answer(data: bytes, limits: ImageLimits, preprocessing: Preprocessing) -> tuple[bytes, bytes]:
    try:
        return PIXELS, preprocessing.scaled(decode(data, "image", limits, preprocessing.side)).tobytes()
    except InvalidArgument as error:
        return PROBLEM, error.violations[0].description.encode()
    except MemoryError:
        return PROBLEM, b"takes too much memory to scale; send a smaller image"


def _limit_memory(more: int) -> None:
    with open("/proc/self/statm") as sizes:
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def _limit_cpu(seconds: float) -> None:
    """From now on. The limit counts whole seconds since the start of the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
