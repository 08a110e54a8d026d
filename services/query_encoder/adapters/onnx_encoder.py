"""The served encoder: ONNX Runtime, dynamic int8 per channel or fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.ports import FloatArray

# Small batches of equal length: larger ones leave the cache, and a padded one changes the int8 scale of its mates.
_TOKENS_PER_BATCH = 512


class OnnxEncoder:
    """`threads` are ONNX Runtime's own; a call uses all of them."""

    def __init__(self, model_file: Path, model_dir: Path, model_version: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads sleep instead of spinning: other services share these cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
        self._tokenizer = BatchTokenizer(model_dir)
        self.model_version = model_version
        self.dimensions = int(self.session.get_outputs()[0].shape[1])

    def encode(self, texts: Sequence[str], max_tokens: int) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for rows, ids, mask in self._tokenizer.batches(texts, max_tokens, _TOKENS_PER_BATCH):
            vectors[rows] = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return vectors
