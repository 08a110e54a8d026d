"""Pruned transformers, whose layers differ in size.

`transformers` 5 does not prune heads any more, and its configurations have one number of heads and one feed-forward
width for all layers. Ours are lists in config.json with one entry for each layer: LAYER_HEADS and LAYER_WIDTHS. A model
without these lists is loaded by `transformers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

LAYER_HEADS, LAYER_WIDTHS = "layer_heads", "layer_widths"


def is_pruned(config: PretrainedConfig) -> bool:
    return hasattr(config, LAYER_HEADS)


def load_pruned(model_dir: Path, config: PretrainedConfig, attention: str | None) -> PreTrainedModel:
    """Raises RuntimeError if the weights do not fit config.json."""
    body: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call]
        config, attn_implementation=attention
    )
    resize(body, getattr(config, LAYER_HEADS), getattr(config, LAYER_WIDTHS))
    weights: dict[str, Any] = {}
    for file in sorted(model_dir.glob("*.safetensors")):
        weights |= load_file(file)
    body.load_state_dict(weights)
    return body


def resize(body: PreTrainedModel, heads: Sequence[int], widths: Sequence[int]) -> None:
    """Gives each layer new weights of its size, not initialised, and writes the sizes into the configuration."""
    hidden = body.config.hidden_size
    for layer, head_count, width in zip(layers_of(body), heads, widths, strict=True):
        attention = layer.attention.self
        inner = head_count * attention.attention_head_size
        attention.query, attention.key, attention.value = (nn.Linear(hidden, inner) for _ in range(3))
        attention.num_attention_heads, attention.all_head_size = head_count, inner
        layer.attention.output.dense = nn.Linear(inner, hidden)
        layer.intermediate.dense, layer.output.dense = nn.Linear(hidden, width), nn.Linear(width, hidden)
    body.config.num_hidden_layers = len(heads)
    setattr(body.config, LAYER_HEADS, list(heads))
    setattr(body.config, LAYER_WIDTHS, list(widths))


def layers_of(body: PreTrainedModel) -> Any:
    """Raises ValueError if the layers are not built as in BERT. Those of RoBERTa and XLM-R are."""
    layers = getattr(getattr(body, "encoder", None), "layer", None)
    if not layers or not hasattr(getattr(layers[0].attention, "self", None), "query"):
        raise ValueError(f"{type(body).__name__}: only layers that are built as in BERT can be pruned")
    return layers
