"""Image encoders of model folders. Those with the same preprocessing share the processes that decode for them."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from services.common.models.kinds import PICTURES
from services.query_encoder.adapters.image_processes import ImageProcesses
from services.query_encoder.adapters.onnx_image_encoder import MODEL, OnnxImageEncoder
from services.query_encoder.domain.image import ImageLimits, Preprocessing
from services.query_encoder.ports import ImageEncoder, ImageReader


def version_of(folder: Path) -> str:
    """The model version of the vectors of a trained version."""
    return f"{PICTURES}@{hashlib.blake2b((folder / MODEL).read_bytes(), digest_size=6).hexdigest()}"


class ImageFolders:
    """`threads` of one inference; `limit_s`: the time that decoding one image may take."""

    def __init__(self, threads: int, limits: ImageLimits, limit_s: float) -> None:
        self._threads, self._limits, self._limit_s = threads, limits, limit_s
        self._lock = threading.Lock()
        self._readers: dict[Preprocessing, ImageProcesses] = {}

    def load(self, folder: Path, model_version: str) -> tuple[ImageEncoder, ImageReader]:
        encoder = OnnxImageEncoder(folder, self._threads, model_version)
        with self._lock:
            if (reader := self._readers.get(encoder.preprocessing)) is None:
                reader = ImageProcesses(encoder.preprocessing, self._limits, self._limit_s)
                self._readers[encoder.preprocessing] = reader
        return encoder, reader

    def close(self) -> None:
        """Of a version that is out of use too: a call that began with it may still need its reader until now."""
        for reader in self._readers.values():
            reader.close()
