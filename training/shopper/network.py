"""The network: causal self-attention over a person's events; a score is the last state times an item vector.

After SASRec (Kang and McAuley, ICDM 2018), with a softmax over all items (Klenitskiy and Vasilev, RecSys 2023), and
with distances between events instead of positions, so that a window may begin anywhere. An item's vector is the
embedding of its id plus a linear map of its text and picture vectors; a new item has the map's part.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from services.common.arrays import FloatArray
from services.ranker.domain.shopper.events import BUCKETS, SEQUENCE, TYPES
from training.shopper.settings import NetworkSettings
from training.shopper.windows import Batch

# Gaps between events are read between these knots: from below a minute to more than two years, in powers of 3.
_KNOTS, _KNOT_RATIO, _LEAST_GAP_DAYS = 14, 3.0, 1 / 1_440


class ShopperNetwork(nn.Module):
    """`inputs` [n, t + i]: the vectors of all products; `is_known` [n]: whether a product has events and so an id."""

    def __init__(self, inputs: FloatArray, is_known: torch.Tensor, settings: NetworkSettings) -> None:
        super().__init__()
        width = settings.width
        self.settings = settings
        self.ids = nn.Embedding(len(inputs), width)
        self.map = ItemMap(inputs, settings)
        self.user = UserSide(settings)
        nn.init.normal_(self.ids.weight, std=0.02)
        self._is_known: torch.Tensor
        self.register_buffer("_is_known", is_known.float()[:, None] * float(settings.uses_ids), persistent=False)

    def items(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """[rows, width], by default of all products.

        In training a part of the items goes without its id, so that the map learns to stand alone.
        """
        ids = self.ids.weight * self._is_known if rows is None else self.ids(rows) * self._is_known[rows]
        if self.training and self.settings.id_dropout and self.settings.uses_map:
            ids = ids * (torch.rand(len(ids), 1) >= self.settings.id_dropout)
        found: torch.Tensor = ids + self.map(rows)
        return found

    def states(self, items: torch.Tensor, batch: Batch) -> torch.Tensor:
        """[b, l, width] after each event; the batch's items are rows of `items`, or the one behind the last."""
        padded = torch.cat([items, torch.zeros(1, items.shape[1])])
        found: torch.Tensor = self.user.states(padded[batch.items], batch.types, batch.gaps, batch.words)
        return found

    def persons(self, items: torch.Tensor, batch: Batch) -> torch.Tensor:
        """[b, width]: the state after the last event; every window has one."""
        return self.states(items, batch)[torch.arange(len(batch.lengths)), batch.lengths - 1]


class ItemMap(nn.Module):
    """A linear map of the vectors. It is learned on whitened inputs, on which all directions learn equally fast."""

    def __init__(self, inputs: FloatArray, settings: NetworkSettings) -> None:
        super().__init__()
        self.uses = settings.uses_map
        mean, whitening = whitened(inputs)
        self._mean: torch.Tensor
        self._whitening: torch.Tensor
        self._inputs: torch.Tensor
        self.register_buffer("_mean", torch.from_numpy(mean), persistent=False)
        self.register_buffer("_whitening", torch.from_numpy(whitening) * settings.map_scale, persistent=False)
        self.register_buffer("_inputs", (torch.from_numpy(inputs) - self._mean) @ self._whitening, persistent=False)
        self.weight = nn.Parameter(torch.randn(whitening.shape[1], settings.width) * 0.02)
        self.bias = nn.Parameter(torch.zeros(settings.width))

    def forward(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """[rows, width], by default of all products."""
        inputs = self._inputs if rows is None else self._inputs[rows]
        if not self.uses:
            return torch.zeros(len(inputs), len(self.bias))
        return inputs @ self.weight + self.bias

    def matrix(self) -> torch.Tensor:
        """[t + i + 1, width]: the same map for the vectors as they are, with the constant last."""
        if not self.uses:
            return torch.zeros(len(self._mean) + 1, len(self.bias))
        folded = self._whitening @ self.weight
        return torch.cat([folded, (self.bias - self._mean @ folded)[None]])


class UserSide(nn.Module):
    """From events to a state. The same parameters serve through `person`, for one person, exported to ONNX."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width = settings.width
        self.settings = settings
        self.types = nn.Embedding(max(TYPES.values()) + 1, width, padding_idx=0)
        self.words = nn.Embedding(BUCKETS, width, padding_idx=0)
        self.ages = nn.Linear(_KNOTS, width, bias=False)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(width)
        # A type, an age or a word that training has never seen adds nothing.
        for table in (self.types, self.words, self.ages):
            nn.init.zeros_(table.weight)

    def states(
        self, items: torch.Tensor, types: torch.Tensor, gaps: torch.Tensor, words: torch.Tensor | None
    ) -> torch.Tensor:
        """[b, l, width] of item vectors [b, l, width], types [b, l], gaps in days [b, l], words [b, l, WORDS]."""
        state = self._events(items, types, gaps, words)
        distances = _distances(types[0])
        for block in self.blocks:
            state = block(state, distances)
        found: torch.Tensor = self.norm(state)
        return found

    def _events(
        self, items: torch.Tensor, types: torch.Tensor, gaps: torch.Tensor, words: torch.Tensor | None
    ) -> torch.Tensor:
        """[..., width] of each event: what it is of, its type, age and words."""
        ages = self.ages(near_knots(gaps))
        if self.training and self.settings.age_dropout:
            ages = ages * (torch.rand(len(ages), 1, 1) >= self.settings.age_dropout)
        state = items * self.settings.width**0.5 + self.types(types) + ages
        if words is not None:
            counts = (words > 0).sum(-1, keepdim=True).clamp(min=1)
            state = state + self.words(words).sum(-2) / counts * self.settings.width**0.5
        return functional.dropout(state, self.settings.dropout, self.training)

    def person(self, items: torch.Tensor, types: torch.Tensor, ages: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """[width] of one person's m events: `ShopperEvents`, with the item vectors [m, width].

        The state after the last event, without the work for the others: a request waits for it.
        """
        # ONNX has no expm1; what is lost is some milliseconds.
        days = torch.exp(ages) - 1.0
        gaps = days - torch.cat([days[1:], torch.zeros_like(days[:1])])
        state, distances = self._events(items, types, gaps.clamp(min=0), words), _distances(types)
        for block in self.blocks[:-1]:
            state = block(state[None], distances)[0]
        last = self.blocks[-1]
        assert isinstance(last, Block)
        found: torch.Tensor = self.norm(last.last(state, distances[-1]))
        return found


class Block(nn.Module):
    """Pre-norm attention and feed-forward layer, each with a residual connection."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads, self.dropout = settings.heads, settings.dropout
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, width), nn.Linear(width, width)
        self.nearness = nn.Embedding(SEQUENCE, settings.heads)
        nn.init.zeros_(self.nearness.weight)

    def forward(self, state: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """`state` [b, l, width]; the mask by distance also hides the padding, which is at the end."""
        batch, length, width = state.shape
        projected = self.project(self.before_attention(state))
        queries, keys, values = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in projected.chunk(3, dim=-1)
        )
        bias = self.nearness(distances.clamp(0, SEQUENCE - 1)).permute(2, 0, 1)
        logits = queries @ keys.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias
        chances = self._dropped(torch.softmax(logits.masked_fill(distances < 0, -1e9), dim=-1))
        seen = (chances @ values).transpose(1, 2).reshape(batch, length, width)
        return self._fed(state + self._dropped(self.join(seen)))

    def last(self, state: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """[width]: `forward` for the last of one person's events. `state` [m, width]; `distances` [m] to the last."""
        width = state.shape[-1]
        projected = self.project(self.before_attention(state)).reshape(-1, 3, self.heads, width // self.heads)
        queries, keys, values = projected.unbind(1)
        logits = (keys * queries[-1]).sum(-1) * (width // self.heads) ** -0.5 + self.nearness(distances)
        chances = torch.softmax(logits, dim=0)
        return self._fed(state[-1] + self.join((chances[..., None] * values).sum(0).reshape(width)))

    def _fed(self, state: torch.Tensor) -> torch.Tensor:
        fed = self.narrow(self._dropped(functional.gelu(self.widen(self.before_feed(state)))))
        return state + self._dropped(fed)

    def _dropped(self, state: torch.Tensor) -> torch.Tensor:
        return functional.dropout(state, self.dropout, self.training)


def _distances(types: torch.Tensor) -> torch.Tensor:
    """[l, l] from an event to an earlier one; negative to a later one."""
    places = torch.cumsum(torch.ones_like(types), 0)
    return places[:, None] - places[None, :]


def near_knots(gaps: torch.Tensor) -> torch.Tensor:
    """[..., _KNOTS]: of gaps in days, how near the two knots beside them are; the two add up to 1."""
    place = torch.log(gaps / _LEAST_GAP_DAYS + 1.0) / float(np.log(_KNOT_RATIO))
    knots = torch.arange(_KNOTS, dtype=torch.float32)
    return torch.relu(1.0 - (place.clamp(max=_KNOTS - 1.0)[..., None] - knots).abs())


def whitened(inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(mean [d], matrix [d, d]): (inputs - mean) @ matrix has the same variance in all directions, and rows near 1.

    Directions with less than a hundredth of the mean variance are noise: they are not raised further.
    """
    d = inputs.shape[1]
    if not d or not len(inputs):
        return np.zeros(d, np.float32), np.zeros((d, d), np.float32)
    mean = inputs.mean(axis=0, dtype=np.float64)
    centred = inputs - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(inputs))
    floor = max(float(values.mean()) * 1e-2, 1e-9)
    matrix = vectors / np.sqrt(np.maximum(values, floor) * d)
    return mean.astype(np.float32), matrix.astype(np.float32)
