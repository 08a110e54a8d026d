"""The reference encoder: any sentence-transformer of `transformers`, fp32, eager."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, PreTrainedModel

from services.common.arrays import FloatArray
from services.query_encoder.adapters.layer_shapes import is_pruned, load_pruned
from services.query_encoder.adapters.sentence_folder import DenseLayer, SentenceFolder, read_sentence_folder
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.ports import TextKind

_TOKENS_PER_BATCH = 1_024
# Types of models of which only the encoder is read.
_WITH_DECODER = ("mt5", "t5", "umt5")


class PooledEncoder(torch.nn.Module):
    """ids, mask [n, length] -> unit vectors [n, dimensions] (Reimers & Gurevych, EMNLP 2019).

    The mask is that of BatchTokenizer; padding may be on either side.
    """

    def __init__(self, body: PreTrainedModel, folder: SentenceFolder) -> None:
        super().__init__()
        self.body = body
        self._poolings, self._pools_prompt = folder.poolings, folder.pools_prompt
        self.after_pooling = torch.nn.ModuleList()
        self.dimensions = int(body.config.hidden_size) * len(folder.poolings)
        for step in folder.after_pooling:
            if step is None:
                self.after_pooling.append(_UnitLength())
                continue
            if step.inputs != self.dimensions:
                raise ValueError(
                    f"{step.weights.parent}: in_features: {step.inputs} does not fit {self.dimensions} dimensions; "
                    "copy the whole folder of the model"
                )
            self.after_pooling.append(Dense(step))
            self.dimensions = step.outputs

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        read = pooled = attention_mask
        if not self._pools_prompt:
            read, pooled = attention_mask.clamp(max=1), (attention_mask == 1).to(attention_mask.dtype)
        hidden = self.body(input_ids=input_ids, attention_mask=read).last_hidden_state
        vectors = torch.cat([_pool(hidden, read, pooled, pooling) for pooling in self._poolings], dim=1)
        for step in self.after_pooling:
            vectors = step(vectors)
        return torch.nn.functional.normalize(vectors, dim=1)


class Dense(torch.nn.Module):
    """[n, inputs] -> [n, outputs]. The names of its weights are those of `sentence-transformers`."""

    def __init__(self, layer: DenseLayer) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
        self.activation: torch.nn.Module = getattr(torch.nn, layer.activation)()
        try:
            safe = layer.weights.suffix == ".safetensors"
            self.load_state_dict(
                load_file(layer.weights) if safe else torch.load(layer.weights, "cpu", weights_only=True)
            )
        except (pickle.UnpicklingError, RuntimeError):
            raise ValueError(
                f"{layer.weights}: holds other things than the weights of a dense layer from {layer.inputs} to "
                f"{layer.outputs} dimensions; save the model as safetensors"
            ) from None

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.activation(self.linear(vectors))
        return activated


class _UnitLength(torch.nn.Module):
    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=1)


def _pool(hidden: torch.Tensor, read: torch.Tensor, pooled: torch.Tensor, pooling: str) -> torch.Tensor:
    """[n, width] of `hidden` [n, length, width]. `read`, `pooled` [n, length]: 1 for tokens that are no padding, and
    for those of them that count.
    """
    weights = pooled.unsqueeze(-1).to(hidden.dtype)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, float("-inf")).amax(1)
    if pooling in ("cls", "lasttoken"):
        place = pooled.cumsum(1)
        chosen = place == (1 if pooling == "cls" else pooled.sum(1, keepdim=True))
        return (hidden * (weights * chosen.unsqueeze(-1))).sum(1)
    if pooling == "weightedmean":
        weights = weights * read.cumsum(1).unsqueeze(-1)
    total = weights.sum(1).clamp(min=1e-9)
    return (hidden * weights).sum(1) / (total.sqrt() if pooling == "mean_sqrt_len_tokens" else total)


def load_model(model_dir: Path, attention: str | None = None) -> PooledEncoder:
    """From a folder with config.json and safetensors, without the network. `attention`: the implementation by its name
    in `transformers`; None: the default. Raises ValueError for a model that cannot be served as it was trained.
    """
    folder = read_sentence_folder(model_dir)
    place = str(folder.transformer_dir)
    config = AutoConfig.from_pretrained(place, local_files_only=True)
    if config.is_encoder_decoder and config.model_type not in _WITH_DECODER:
        raise ValueError(
            f"{folder.transformer_dir / 'config.json'}: model_type: {config.model_type!r} has a decoder; use a "
            f"model of an encoder or a decoder alone, or one of {', '.join(_WITH_DECODER)}"
        )
    if is_pruned(config):
        return PooledEncoder(load_pruned(folder.transformer_dir, config, attention), folder).eval()
    auto = AutoModelForTextEncoding if config.model_type in _WITH_DECODER else AutoModel
    body = auto.from_pretrained(place, local_files_only=True, attn_implementation=attention, dtype=torch.float32)
    # Nothing is generated: a decoder keeps no keys and values.
    body.config.use_cache = False
    return PooledEncoder(body, folder).eval()


class TorchEncoder:
    """See ports.Encoder. `device`: cpu or cuda. Vectors are returned in the CPU's memory."""

    def __init__(self, model_dir: Path, model_version: str, device: str = "cpu") -> None:
        self._device = device
        self._model = load_model(model_dir).to(device)
        self._tokenizer = BatchTokenizer(model_dir)
        self.model_version = model_version
        self.dimensions = self._model.dimensions

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        with torch.inference_mode():
            for rows, ids, mask in self._tokenizer.batches(texts, max_tokens, _TOKENS_PER_BATCH, kind):
                inputs = [torch.from_numpy(array).to(self._device) for array in (ids, mask)]
                vectors[rows] = self._model(*inputs).cpu().numpy()
        return vectors
