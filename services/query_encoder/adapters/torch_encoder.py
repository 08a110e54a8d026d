"""The reference encoder: any sentence-transformer of `transformers`, fp32, eager, mean pooling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from services.common.arrays import FloatArray
from services.query_encoder.adapters.layer_shapes import is_pruned, load_pruned
from services.query_encoder.adapters.tokenizer import BatchTokenizer

_TOKENS_PER_BATCH = 1_024


class PooledEncoder(torch.nn.Module):
    """ids, mask [n, length] -> unit vectors [n, dimensions] (Reimers & Gurevych, EMNLP 2019)."""

    def __init__(self, body: PreTrainedModel) -> None:
        super().__init__()
        self.body = body
        self.dimensions = int(body.config.hidden_size)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(pooled, dim=1)


def load_model(model_dir: Path, attention: str | None = None) -> PooledEncoder:
    """From a folder with config.json and safetensors, without the network. `attention`: the implementation by its name
    in `transformers`; None: the default.
    """
    config = AutoConfig.from_pretrained(str(model_dir), local_files_only=True)
    if is_pruned(config):
        return PooledEncoder(load_pruned(model_dir, config, attention)).eval()
    body = AutoModel.from_pretrained(str(model_dir), local_files_only=True, attn_implementation=attention)
    return PooledEncoder(body).eval()


class TorchEncoder:
    """See ports.Encoder. `device`: cpu or cuda. Vectors are returned in the CPU's memory."""

    def __init__(self, model_dir: Path, model_version: str, device: str = "cpu") -> None:
        self._device = device
        self._model = load_model(model_dir).to(device)
        self._tokenizer = BatchTokenizer(model_dir)
        self.model_version = model_version
        self.dimensions = self._model.dimensions

    def encode(self, texts: Sequence[str], max_tokens: int) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        with torch.inference_mode():
            for rows, ids, mask in self._tokenizer.batches(texts, max_tokens, _TOKENS_PER_BATCH):
                inputs = [torch.from_numpy(array).to(self._device) for array in (ids, mask)]
                vectors[rows] = self._model(*inputs).cpu().numpy()
        return vectors
