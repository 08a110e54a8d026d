"""The image encoder at work: images of queries and of imports, each in threads of their own.

A query without an image never waits for one, and no image is decoded on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.common.errors import Conflict, InvalidArgument
from services.query_encoder.ports import EncodedImages, ImageEncoder

# Images of an import that are in memory at once, for each thread.
_CHUNK = 16


class ServedImageEncoder:
    """`encoder` is None if no image encoder is configured; a call with an image then raises Conflict."""

    def __init__(self, encoder: ImageEncoder | None, import_threads: Executor) -> None:
        self._encoder = encoder
        self._import_threads = import_threads
        self._query_thread = ThreadPoolExecutor(1, "images")

    @property
    def model_version(self) -> str:
        return self._configured().model_version

    async def encode_query(self, data: bytes, context: RequestContext) -> FloatArray:
        """Shape [dimensions]. Raises InvalidArgument that names `image`, and BudgetExpired."""
        encoder = self._configured()

        def work() -> FloatArray:
            context.require_time()
            vector: FloatArray = encoder.encode([encoder.read(data, "image")])[0]
            return vector

        return await asyncio.get_running_loop().run_in_executor(self._query_thread, work)

    async def encode_products(self, images: Sequence[bytes], context: RequestContext) -> EncodedImages:
        """An empty entry of `images` stands for a product without an image. Raises BudgetExpired."""
        rows = [row for row, data in enumerate(images) if data]
        if not rows:
            return EncodedImages()
        encoder = self._configured()
        vectors = np.zeros((len(images), encoder.dimensions), np.float32)
        problems: dict[int, str] = {}

        def work(chunk: Sequence[int]) -> None:
            context.require_time()
            read = {}
            for row in chunk:
                try:
                    read[row] = encoder.read(images[row], "image")
                except InvalidArgument as error:
                    problems[row] = error.violations[0].description
            if read:
                vectors[list(read)] = encoder.encode(list(read.values()))

        chunks = [rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK)]
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._import_threads, work, chunk) for chunk in chunks))
        return EncodedImages(encoder.model_version, vectors if vectors.any() else None, problems)

    def close(self) -> None:
        self._query_thread.shutdown(cancel_futures=True)

    def _configured(self) -> ImageEncoder:
        if self._encoder is None:
            raise Conflict(
                "no image encoder is configured; set KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR to a folder that "
                "`python -m training.pictures` wrote, and start the query encoder again"
            )
        return self._encoder
