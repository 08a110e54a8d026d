"""The image encoder as it is served: ONNX Runtime with the model of a folder that `training.pictures` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.common.arrays import FloatArray
from services.query_encoder.adapters.onnx_encoder import open_session
from services.query_encoder.domain.image import Preprocessing
from services.query_encoder.ports import Pixels

MODEL, PREPROCESSOR = "model.onnx", "preprocessor_config.json"
# A larger batch does not fit into the CPU's cache.
_BATCH = 16


class OnnxImageEncoder:
    """See ports.ImageEncoder. `model_dir` holds model.onnx and preprocessor_config.json.

    Without a given `model_version` the version is the folder's name and a digest of the model.
    """

    def __init__(self, model_dir: Path, threads: int, model_version: str = "") -> None:
        missing = [name for name in (MODEL, PREPROCESSOR) if not (model_dir / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{model_dir} has no {' and no '.join(missing)}; export the model that is in the folder "
                f"(python -m training.pictures.export {model_dir}), or train one (kairos train --only pictures)"
            )
        model = (model_dir / MODEL).read_bytes()
        self._session = open_session(model_dir / MODEL, threads)
        self.preprocessing = Preprocessing.of(json.loads((model_dir / PREPROCESSOR).read_text()))
        self.model_version = (
            model_version or f"{model_dir.resolve().name}@{hashlib.blake2b(model, digest_size=4).hexdigest()}"
        )
        blank = np.zeros((self.preprocessing.height, self.preprocessing.width, 3), np.uint8)
        self.dimensions = int(self.encode([blank]).shape[1])

    def encode(self, images: Sequence[Pixels]) -> FloatArray:
        rows = [
            self._session.run(None, {"pixel_values": self.preprocessing.tensor(np.stack(images[at : at + _BATCH]))})
            for at in range(0, len(images), _BATCH)
        ]
        vectors: FloatArray = np.concatenate([row[0] for row in rows]).astype(np.float32)
        return vectors
