"""Structured pruning: removes heads, feed-forward units and layers from an encoder, which makes its matrices smaller.

torch.nn.utils.prune only sets weights to zero: neither the file nor the inference gets smaller.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from services.query_encoder.adapters.layer_shapes import layers_of, resize
from services.query_encoder.adapters.torch_encoder import PooledEncoder
from training.compression.importance import Importance
from training.compression.settings import Cut
from training.model_folder import save_encoder


def pruned(model: PooledEncoder, cut: Cut, scores: Importance, dropped_layers: Sequence[int] = ()) -> PooledEncoder:
    """A smaller copy. Heads compete over all layers, of which each keeps at least one; units within their layer."""
    smaller = copy.deepcopy(model)
    body: Any = smaller.body
    kept = [number for number in range(len(layers_of(body))) if number not in dropped_layers]
    old = [layers_of(body)[number] for number in kept]
    heads = _best_heads([scores.heads[number] for number in kept], cut.heads)
    units = [_best(scores.units[number], cut.units) for number in kept]
    body.encoder.layer = torch.nn.ModuleList(copy.deepcopy(old))
    resize(body, [len(rows) for rows in heads], [len(rows) for rows in units])
    for source, target, head_rows, unit_rows in zip(old, layers_of(body), heads, units, strict=True):
        size = source.attention.self.attention_head_size
        rows = (head_rows[:, None] * size + torch.arange(size)).flatten()
        for name in ("query", "key", "value"):
            _take(getattr(source.attention.self, name), getattr(target.attention.self, name), rows=rows)
        _take(source.attention.output.dense, target.attention.output.dense, columns=rows)
        _take(source.intermediate.dense, target.intermediate.dense, rows=unit_rows)
        _take(source.output.dense, target.output.dense, columns=unit_rows)
    return smaller.eval()


def save(model: PooledEncoder, source: Path, folder: Path) -> None:
    """Writes a model folder that the query encoder serves; see save_encoder."""
    save_encoder(model, source, folder)


def _best_heads(scores: Sequence[torch.Tensor], share: float) -> list[torch.Tensor]:
    """Indices of the kept heads, by layer."""
    order = sorted((float(score), layer, head) for layer, row in enumerate(scores) for head, score in enumerate(row))
    kept = [set(range(len(row))) for row in scores]
    left = round(share * len(order))
    for _, layer, head in order:
        if left and len(kept[layer]) > 1:
            kept[layer].remove(head)
            left -= 1
    return [torch.tensor(sorted(rows)) for rows in kept]


def _best(scores: torch.Tensor, share: float) -> torch.Tensor:
    count = max(1, round((1 - share) * len(scores)))
    return scores.topk(count).indices.sort().values


@torch.no_grad()
def _take(
    source: torch.nn.Linear, target: torch.nn.Linear, rows: torch.Tensor | None = None,
    columns: torch.Tensor | None = None,
) -> None:  # fmt: skip
    target.weight.copy_(source.weight[rows] if rows is not None else source.weight[:, columns])
    target.bias.copy_(source.bias[rows] if rows is not None else source.bias)
