"""Pictures of queries and of imports, off the event loop: a thread of their own, so that words never wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from services.common.context import RequestContext
from services.common.errors import Conflict, InvalidArgument
from services.query_encoder.ports import FloatArray, PictureEncoder

# Pictures of an import that are in memory at once.
_CHUNK = 16


class Pictures:
    """Raises Conflict where no picture model is configured."""

    def __init__(self, encoder: PictureEncoder | None, bulk_threads: ThreadPoolExecutor) -> None:
        self._encoder = encoder
        self._bulk_threads = bulk_threads
        self._query_thread = ThreadPoolExecutor(1, "pictures")

    @property
    def model_version(self) -> str:
        return self._model().model_version

    async def of_query(self, data: bytes, context: RequestContext) -> FloatArray:
        """Shape [dimensions]. Raises InvalidArgument that names `image`."""
        model = self._model()

        def work() -> FloatArray:
            context.require_time()
            vector: FloatArray = model.encode([model.read(data, "image")])[0]
            return vector

        return await asyncio.get_running_loop().run_in_executor(self._query_thread, work)

    async def of_products(
        self, images: Sequence[bytes], context: RequestContext
    ) -> tuple[FloatArray | None, dict[int, str]]:
        """(shape [len(images), dimensions], zero where there is none; what is wrong, by row). None without any."""
        rows = [row for row, data in enumerate(images) if data]
        if not rows:
            return None, {}
        model = self._model()
        vectors = np.zeros((len(images), model.dimensions), np.float32)
        problems: dict[int, str] = {}

        def work(chunk: Sequence[int]) -> None:
            context.require_time()
            read = {}
            for row in chunk:
                try:
                    read[row] = model.read(images[row], "image")
                except InvalidArgument as error:
                    problems[row] = error.violations[0].description
            if read:
                vectors[list(read)] = model.encode(list(read.values()))

        chunks = [rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK)]
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._bulk_threads, work, chunk) for chunk in chunks))
        return (vectors if vectors.any() else None), problems

    def close(self) -> None:
        self._query_thread.shutdown(cancel_futures=True)

    def _model(self) -> PictureEncoder:
        if self._encoder is None:
            raise Conflict(
                "no picture model is configured; set KAIROS_QUERY_ENCODER_PICTURE_MODEL_DIR to a folder that "
                "`python -m training.pictures` wrote, and start the query encoder again"
            )
        return self._encoder
