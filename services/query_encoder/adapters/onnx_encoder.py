"""The text encoder as it is served: ONNX Runtime, dynamic int8 per channel or fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from services.common.arrays import FloatArray
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.ports import TextKind

# Small batches of texts of about equal length. A larger batch does not fit into the CPU's cache, and padding changes
# the int8 scale of the whole batch.
_TOKENS_PER_BATCH = 512


class OnnxEncoder:
    """See ports.Encoder. `threads`: threads of ONNX Runtime; each call uses all of them."""

    def __init__(self, model_file: Path, model_dir: Path, model_version: str, threads: int) -> None:
        self.session = open_session(model_file, threads)
        self._tokenizer = BatchTokenizer(model_dir)
        self.model_version = model_version
        self.dimensions = int(self.session.get_outputs()[0].shape[1])

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for rows, ids, mask in self._tokenizer.batches(texts, max_tokens, _TOKENS_PER_BATCH, kind):
            vectors[rows] = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return vectors


def open_session(model_file: Path, threads: int) -> Any:
    """An inference session on the CPU whose calls use `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads sleep instead of spinning: other services share these cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
