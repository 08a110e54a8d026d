"""The served picture model: ONNX Runtime over the folder that `training.pictures` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from services.query_encoder.domain.picture import Preprocessing, decode
from services.query_encoder.domain.picture_limits import PictureLimits
from services.query_encoder.ports import FloatArray, Pixels

MODEL, PREPROCESSOR = "model.onnx", "preprocessor_config.json"
# Larger batches leave the cache.
_BATCH = 16


class OnnxPictureEncoder:
    """See ports.PictureEncoder. `model_dir` holds model.onnx and preprocessor_config.json.

    Without a name given, the version is the folder's name and a digest of the weights.
    """

    def __init__(self, model_dir: Path, limits: PictureLimits, threads: int, model_version: str = "") -> None:
        missing = [name for name in (MODEL, PREPROCESSOR) if not (model_dir / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"picture model {model_dir}: no {' and no '.join(missing)}; train one (python -m training.pictures) or "
                f"export one that lies in a folder (python -m training.pictures.export {model_dir})"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads sleep instead of spinning: other services share these cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = (model_dir / MODEL).read_bytes()
        self._session = onnxruntime.InferenceSession(
            str(model_dir / MODEL), options, providers=["CPUExecutionProvider"]
        )
        self._preprocessing = Preprocessing.of(json.loads((model_dir / PREPROCESSOR).read_text()))
        self._limits = limits
        self.model_version = (
            model_version or f"{model_dir.resolve().name}@{hashlib.blake2b(model, digest_size=4).hexdigest()}"
        )
        self.dimensions = int(self.encode([self._nothing()]).shape[1])

    def read(self, data: bytes, field: str) -> Pixels:
        return self._preprocessing.scaled(decode(data, field, self._limits, self._preprocessing.side))

    def encode(self, pictures: Sequence[Pixels]) -> FloatArray:
        rows = [
            self._session.run(None, {"pixel_values": self._preprocessing.tensor(np.stack(pictures[at : at + _BATCH]))})
            for at in range(0, len(pictures), _BATCH)
        ]
        vectors: FloatArray = np.concatenate([row[0] for row in rows]).astype(np.float32)
        return vectors

    def _nothing(self) -> Pixels:
        return np.zeros((self._preprocessing.height, self._preprocessing.width, 3), np.uint8)
