"""The images of an import, when decoding them takes longer than the import may take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.query_encoder.ports import Pixels
from services.query_encoder.served_image_encoder import ServedImageEncoder


class FakeEncoder:
    model_version, dimensions = "image@1", 2

    def encode(self, images: Sequence[Pixels]) -> FloatArray:
        return np.ones((len(images), 2), np.float32)


class SlowReader:
    """Decodes `b"slow"` in the given time."""

    def __init__(self, slow_s: float) -> None:
        self.slow_s, self.limits_s = slow_s, list[float]()

    def read(self, data: bytes, field: str, limit_s: float) -> Pixels:
        self.limits_s.append(limit_s)
        time.sleep(self.slow_s * (data == b"slow"))
        return np.zeros((1, 1, 3), np.uint8)

    def close(self) -> None: ...


async def test_slow_images() -> None:
    """Images that were decoded in time are encoded; the rest are reported, and each may take no longer than is left."""
    reader = SlowReader(slow_s=0.5)
    served = ServedImageEncoder((FakeEncoder(), reader), ThreadPoolExecutor(1), lambda folder: (FakeEncoder(), reader))
    context = RequestContext(deadline_s=time.monotonic() + 0.8)
    encoded = await served.encode_products([b"quick", b"slow", b"late", b"later"], context)
    assert encoded.vectors is not None
    assert encoded.vectors.any(axis=1).tolist() == [True, True, False, False]
    assert [(row, "import it again" in reason) for row, reason in sorted(encoded.problems.items())] == [
        (2, True),
        (3, True),
    ]
    assert max(reader.limits_s) <= 0.8
    served.close()
