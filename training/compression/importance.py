"""Importance of attention heads, feed-forward units and layers for search.

A head's or unit's score is the absolute gradient of the loss with respect to a gate of 1 on its output (Michel et al.,
"Are Sixteen Heads Really Better than One?", NeurIPS 2019; for units Molchanov et al., ICLR 2017). The loss is that of
the encoder's training (`training.search.encoder.contrastive_loss`). A layer's score is how far the vectors move without
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from services.query_encoder.adapters.layer_shapes import layers_of
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import PooledEncoder
from services.query_encoder.ports import TextKind
from training.search.data import Pair
from training.search.encoder import contrastive_loss, low_precision

BATCH = 32
_TEMPERATURE = 0.05
_TOKENS = 48


@dataclass(frozen=True)
class Importance:
    """Scores by layer, larger is more important: `heads` [layers][heads], `units` [layers][width].

    The heads of a layer are scaled to length 1, which makes layers comparable (Michel et al.).
    """

    heads: list[torch.Tensor]
    units: list[torch.Tensor]


def importance(model: PooledEncoder, tokenizer: BatchTokenizer, pairs: Sequence[Pair]) -> Importance:
    """The last pairs, which fill no batch, are dropped. Raises ValueError for less than one batch."""
    if len(pairs) < BATCH:
        raise ValueError(f"{len(pairs)} pairs of queries and products; at least {BATCH} are needed")
    with _gates(model) as (heads, units):
        sums = [torch.zeros_like(gate) for gate in (*heads, *units)]
        for first in tqdm(range(0, len(pairs) - BATCH + 1, BATCH), desc="Importance", unit=" batches"):
            batch = pairs[first : first + BATCH]
            with low_precision():
                queries = encode(model, tokenizer, [pair.query for pair in batch], "query")
                products = encode(model, tokenizer, [pair.text for pair in batch], "product")
            gradients = torch.autograd.grad(contrastive_loss(queries, products, _TEMPERATURE), [*heads, *units])
            sums = [total + gradient.abs() for total, gradient in zip(sums, gradients, strict=True)]
    by_head, by_unit = sums[: len(heads)], sums[len(heads) :]
    return Importance([scores / scores.norm().clamp(min=1e-12) for scores in by_head], by_unit)


def least_layers(
    model: PooledEncoder, tokenizer: BatchTokenizer, texts: Sequence[str], count: int
) -> Iterator[tuple[int, ...]]:
    """The 1, 2, … `count` layers whose removal moves the vectors of products least, chosen one after the other."""
    layers = layers_of(model.body)
    with torch.no_grad():
        whole = encode(model, tokenizer, texts, "product")
        dropped: tuple[int, ...] = ()
        for _ in range(min(count, len(layers) - 1)):
            near: dict[int, float] = {}
            for layer in set(range(len(layers))).difference(dropped):
                with _without(model, (*dropped, layer)):
                    near[layer] = float((encode(model, tokenizer, texts, "product") * whole).sum(1).mean())
            dropped = (*dropped, max(near, key=lambda layer: near[layer]))
            yield tuple(sorted(dropped))


def encode(model: PooledEncoder, tokenizer: BatchTokenizer, texts: Sequence[str], kind: TextKind) -> torch.Tensor:
    """[texts, dimensions], with gradients; a text without a known token has a zero row."""
    parts, order = [], list[int]()
    for rows, ids, mask in tokenizer.batches(texts, _TOKENS, BATCH * _TOKENS, kind):
        parts.append(model(torch.from_numpy(ids), torch.from_numpy(mask)))
        order += rows
    vectors = torch.cat(parts).float()
    return torch.zeros(len(texts), vectors.shape[1]).index_copy(0, torch.tensor(order), vectors)


@contextmanager
def _gates(model: PooledEncoder) -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """(heads, units): gates of 1 that multiply the output of each head and of each unit, by layer."""
    heads, units, hooks = [], [], []
    for layer in layers_of(model.body):
        attention = layer.attention.self
        heads.append(torch.ones(attention.num_attention_heads, requires_grad=True))
        units.append(torch.ones(layer.intermediate.dense.out_features, requires_grad=True))
        for module, gate, size in (
            (layer.attention.output.dense, heads[-1], attention.attention_head_size),
            (layer.output.dense, units[-1], 1),
        ):

            def gated(_: torch.nn.Module, given: tuple[torch.Tensor], gate=gate, size=size):  # type: ignore[no-untyped-def]
                return (given[0] * gate.repeat_interleave(size),)

            hooks.append(module.register_forward_pre_hook(gated))
    try:
        yield heads, units
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _without(model: PooledEncoder, dropped: Sequence[int]) -> Iterator[None]:
    body: Any = model.body
    whole = layers_of(body)
    body.encoder.layer = torch.nn.ModuleList(layer for number, layer in enumerate(whole) if number not in dropped)
    try:
        yield
    finally:
        body.encoder.layer = whole
