"""The sequence network: causal self-attention over a history; scores are the last state times the item vectors.

After SASRec (Kang & McAuley, ICDM 2018), with a softmax over all items in place of one random negative (Klenitskiy &
Vasilev, RecSys 2023). An item's vector is the embedding of its id plus the weighted embeddings of its words, brand and
categories, so that items without interactions have a vector too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from training.sequence.data import IntArray, ItemText


@dataclass(frozen=True)
class NetworkSettings:
    """`width` of items and states; `history`: maximum of read items, the latest ones."""

    width: int = 128
    blocks: int = 1
    heads: int = 2
    dropout: float = 0.5
    history: int = 50


@dataclass(frozen=True)
class ItemTokens:
    """Tokens of all items in one row; those of item i begin at `starts[i]`. The `weights` of an item add up to 1."""

    tokens: torch.Tensor
    starts: torch.Tensor
    weights: torch.Tensor
    vocabulary_size: int


def item_tokens(texts: Sequence[ItemText], most_common: float = 0.3) -> ItemTokens:
    """Words, brands and categories of at least two items and at most the share `most_common`, weighted by idf."""
    found = [list(dict.fromkeys(_tokens(text))) for text in texts]
    counts = Counter(token for tokens in found for token in tokens)
    kept = [token for token, count in counts.items() if 2 <= count <= most_common * len(texts)]
    row_of = {token: row for row, token in enumerate(kept)}
    tokens: list[int] = []
    starts: list[int] = []
    weights: list[float] = []
    for own in found:
        starts.append(len(tokens))
        known = [token for token in own if token in row_of]
        rarities = [math.log(len(texts) / counts[token]) for token in known]
        tokens += [row_of[token] for token in known]
        weights += [rarity / sum(rarities) for rarity in rarities]
    return ItemTokens(torch.tensor(tokens, dtype=torch.long), torch.tensor(starts), torch.tensor(weights), len(kept))


class SequenceNetwork(nn.Module):
    """Row `item_count` of the table is padding."""

    def __init__(self, item_count: int, tokens: ItemTokens, settings: NetworkSettings) -> None:
        super().__init__()
        self.item_count, self.settings = item_count, settings
        self.ids = nn.Embedding(item_count, settings.width)
        self.words = nn.EmbeddingBag(max(1, tokens.vocabulary_size), settings.width, mode="sum")
        self.positions = nn.Embedding(settings.history, settings.width)
        for table in (self.ids, self.words, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.register_buffer("_tokens", tokens.tokens, persistent=False)
        self.register_buffer("_starts", tokens.starts, persistent=False)
        self.register_buffer("_weights", tokens.weights, persistent=False)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(settings.width)

    def items(self) -> torch.Tensor:
        """[items, width]."""
        text: torch.Tensor = self.words(self._tokens, self._starts, per_sample_weights=self._weights)
        return self.ids.weight + text

    def states(self, items: torch.Tensor, histories: torch.Tensor) -> torch.Tensor:
        """[b, l, width] for `histories` [b, l], indices of `items` padded at the end; a state sees no later item."""
        length = histories.shape[1]
        padded = torch.cat([items, torch.zeros(1, items.shape[1])])
        state = padded[histories] * self.settings.width**0.5 + self.positions.weight[:length]
        state = functional.dropout(state, self.settings.dropout, self.training)
        earlier = torch.ones(length, length, dtype=torch.bool).tril()
        for block in self.blocks:
            state = block(state, earlier)
        normal: torch.Tensor = self.norm(state)
        return normal

    def last_states(self, items: torch.Tensor, histories: Sequence[IntArray]) -> torch.Tensor:
        """[b, width]: states after the last item; zeros for an empty history."""
        latest = [history[-self.settings.history :] for history in histories]
        if not any(map(len, latest)):
            return torch.zeros(len(latest), self.settings.width)
        lengths = torch.tensor([len(history) for history in latest])
        states = self.states(items, self.padded(latest))[torch.arange(len(latest)), lengths.clamp(min=1) - 1]
        return states * (lengths > 0)[:, None]

    def padded(self, histories: Sequence[IntArray]) -> torch.Tensor:
        """[b, longest]."""
        rows = torch.full((len(histories), max(map(len, histories))), self.item_count)
        for row, history in zip(rows, histories, strict=True):
            row[: len(history)] = torch.as_tensor(history)
        return rows


class Block(nn.Module):
    """Pre-norm attention and feed-forward layer, each with a residual connection."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads, self.dropout = settings.heads, settings.dropout
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, state: torch.Tensor, earlier: torch.Tensor) -> torch.Tensor:
        """`state` [b, l, width]; `earlier` [l, l], the causal mask, which also hides the padding at the end."""
        batch, length, width = state.shape
        projected = self.project(self.before_attention(state)).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=earlier, dropout_p=self.dropout if self.training else 0.0
        )
        state = state + self._dropped(self.join(found.transpose(1, 2).reshape(batch, length, width)))
        fed = self.narrow(self._dropped(functional.gelu(self.widen(self.before_feed(state)))))
        return state + self._dropped(fed)

    def _dropped(self, state: torch.Tensor) -> torch.Tensor:
        return functional.dropout(state, self.dropout, self.training)


def _tokens(text: ItemText) -> list[str]:
    words = [f"word:{word}" for word in text.keywords.lower().split()]
    # "Unknown" is what exports write where there is no brand.
    brand = [f"brand:{text.brand.lower()}"] if text.brand.lower() not in ("", "unknown") else []
    categories = [f"category:{name.strip().lower()}" for name in text.categories.split("|") if name.strip()]
    return words + brand + categories
