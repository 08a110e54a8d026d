"""The image encoder at work: images of queries and of imports, each in threads of their own.

A query without an image never waits for one, and no image is decoded on the event loop, or in this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.common.errors import Conflict, InvalidArgument
from services.common.models.kinds import PICTURES
from services.common.models.loaded_versions import LoadedVersions
from services.query_encoder.ports import EncodedImages, ImageEncoder, ImageReader

Images = tuple[ImageEncoder, ImageReader]
# Images of an import that are in memory at once, for each thread.
_CHUNK = 16
# Part of an import's remaining time in which its images are decoded. Later images are rejected, and the products whose
# images were decoded still go in.
_DECODING = 0.6
# A query's image may take this many seconds although its caller waits no longer: to end the process and start another
# one would cost more.
_LEAST_S = 0.5


class ServedImageEncoder:
    """`of_settings` serves tenants without a trained version; None: their calls with an image raise Conflict.

    `load` reads a version's folder. The registry of tenant t is `root`/t/pictures; root None: there are no trained
    versions. `refresh` loads what the pointers name. A call uses one version from beginning to end.
    """

    def __init__(
        self,
        of_settings: Images | None,
        import_threads: Executor,
        load: Callable[[Path], Images],
        root: Path | None = None,
    ) -> None:
        self._of_settings, self._import_threads = of_settings, import_threads
        self._versions = LoadedVersions(root, load, below=PICTURES)
        self.refresh = self._versions.refresh
        self._query_thread = ThreadPoolExecutor(1, "images")

    async def encode_query(self, data: bytes, context: RequestContext) -> tuple[FloatArray, str]:
        """(vector of shape [dimensions], its model version). Raises InvalidArgument that names `image`, and
        BudgetExpired.
        """
        encoder, reader = self._images_of(context.tenant)

        def work() -> FloatArray:
            context.require_time()
            try:
                pixels = reader.read(data, "image", max(_LEAST_S, context.remaining_s()))
            finally:
                context.require_time()
            vector: FloatArray = encoder.encode([pixels])[0]
            return vector

        vector = await asyncio.get_running_loop().run_in_executor(self._query_thread, work)
        return vector, encoder.model_version

    async def encode_products(self, images: Sequence[bytes], context: RequestContext) -> EncodedImages:
        """An empty entry of `images` stands for a product without an image. Raises BudgetExpired."""
        rows = [row for row, data in enumerate(images) if data]
        if not rows:
            return EncodedImages()
        encoder, reader = self._images_of(context.tenant)
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

    def _images_of(self, tenant: str) -> Images:
        loaded = self._versions.of(tenant)
        found = loaded.served.get(loaded.rollout.current) if loaded is not None else None
        if (images := found or self._of_settings) is None:
            raise Conflict(
                "no image encoder is configured; train one with `kairos train --only pictures` and promote it, or set "
                "KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR and start the query encoder again"
            )
        return images
