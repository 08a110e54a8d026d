"""The image encoder at work: images of queries and of imports, each in threads of their own.

A query without an image never waits for one, and no image is decoded on the event loop, or in this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.common.errors import Conflict, InvalidArgument
from services.query_encoder.ports import EncodedImages, ImageEncoder, ImageReader

# Images of an import that are in memory at once, for each thread.
_CHUNK = 16
# Part of an import's remaining time in which its images are decoded. Later images are rejected, and the products whose
# images were decoded still go in.
_DECODING = 0.6
# A query's image may take this many seconds although its caller waits no longer: to end the process and start another
# one would cost more.
_LEAST_S = 0.5


class ServedImageEncoder:
    """`images` is None if no image encoder is configured; a call with an image then raises Conflict."""

    def __init__(self, images: tuple[ImageEncoder, ImageReader] | None, import_threads: Executor) -> None:
        self._images = images
        self._import_threads = import_threads
        self._query_thread = ThreadPoolExecutor(1, "images")

    @property
    def model_version(self) -> str:
        encoder, _ = self._configured()
        return encoder.model_version

    async def encode_query(self, data: bytes, context: RequestContext) -> FloatArray:
        """Shape [dimensions]. Raises InvalidArgument that names `image`, and BudgetExpired."""
        encoder, reader = self._configured()

        def work() -> FloatArray:
            context.require_time()
            try:
                pixels = reader.read(data, "image", max(_LEAST_S, context.remaining_s()))
            finally:
                context.require_time()
            vector: FloatArray = encoder.encode([pixels])[0]
            return vector

        return await asyncio.get_running_loop().run_in_executor(self._query_thread, work)

    async def encode_products(self, images: Sequence[bytes], context: RequestContext) -> EncodedImages:
        """An empty entry of `images` stands for a product without an image. Raises BudgetExpired."""
        rows = [row for row, data in enumerate(images) if data]
        if not rows:
            return EncodedImages()
        encoder, reader = self._configured()
        decode_until_s = time.monotonic() + _DECODING * context.remaining_s()
        vectors = np.zeros((len(images), encoder.dimensions), np.float32)
        problems: dict[int, str] = {}

        def work(chunk: Sequence[int]) -> None:
            context.require_time()
            read = {}
            for row in chunk:
                left_s = decode_until_s - time.monotonic()
                if left_s <= 0:
                    problems[row] = "was not decoded: the images before it took all of the time; import it again"
                    continue
                try:
                    read[row] = reader.read(images[row], "image", max(_LEAST_S, left_s))
                except InvalidArgument as error:
                    problems[row] = error.violations[0].description
            if read:
                vectors[list(read)] = encoder.encode(list(read.values()))

        chunks = [rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK)]
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._import_threads, work, chunk) for chunk in chunks))
        return EncodedImages(encoder.model_version, vectors if vectors.any() else None, problems)

    def close(self) -> None:
        """After the threads of imports have ended."""
        self._query_thread.shutdown(cancel_futures=True)
        if self._images is not None:
            self._images[1].close()

    def _configured(self) -> tuple[ImageEncoder, ImageReader]:
        if self._images is None:
            raise Conflict(
                "no image encoder is configured; set KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR to a folder that "
                "`python -m training.pictures` wrote, and start the query encoder again"
            )
        return self._images
