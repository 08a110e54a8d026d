"""The ranker network: target attention over the newest events, a multi-gate mixture of experts, a head for each task.

After DIN (Zhou et al., KDD 2018) and MMoE (Ma et al., KDD 2018); heads chained over all that was shown, after ESMM (Ma
et al., SIGIR 2018). The user's part is computed once a request, the candidate's part for each candidate. Shapes: `r`
requests, `c` candidates of each, `s` events, `d` dimensions of an item's vector, `w` the network's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.user_features import CONTEXT, EVENT_NUMBERS, TYPES

# Positions beyond count as the last.
POSITIONS = 100


@dataclass(frozen=True)
class NetworkSettings:
    dimensions: int
    tasks: tuple[str, ...] = ("click", "cart", "purchase")
    # Whether each head is conditional on the one before it (ESMM); else the heads are independent.
    chained: bool = True
    width: int = 48
    heads: int = 4
    experts: int = 4
    expert_sizes: tuple[int, int] = (64, 32)
    # Whether a tower with the position as its only input takes out position bias.
    position_tower: bool = True
    dropout: float = 0.1


class RankerNetwork(nn.Module):
    def __init__(self, settings: NetworkSettings, item_count: int = 1) -> None:
        """`item_count` rows in the table of ids; row 0 is for unknown items."""
        super().__init__()
        self.settings = settings
        w, numbers = settings.width, len(CANDIDATE_NUMBERS)
        outputs = settings.experts * settings.expert_sizes[0] + len(settings.tasks) * settings.experts
        self.project = nn.Linear(settings.dimensions, w, bias=False)
        self.ids = nn.Embedding(item_count, w)
        self.types = nn.Embedding(len(TYPES) + 1, w, padding_idx=0)
        self.event_scale, self.candidate_scale = Scale(len(EVENT_NUMBERS)), Scale(numbers)
        self.context_scale = Scale(len(CONTEXT))
        self.event_numbers = nn.Linear(len(EVENT_NUMBERS), w)
        self.key, self.value, self.ask = nn.Linear(w, w), nn.Linear(w, w), nn.Linear(w, w)
        # A dummy event that takes the attention of a candidate to which no event is relevant.
        self.nothing_key, self.nothing_value = nn.Parameter(torch.zeros(w)), nn.Parameter(torch.zeros(w))
        self.of_user = nn.Linear(2 * w + len(CONTEXT), outputs)
        self.of_candidate = nn.Linear(5 * w + numbers, outputs, bias=False)
        self.deeper = nn.Parameter(torch.empty(settings.experts, *settings.expert_sizes))
        self.deeper_bias = nn.Parameter(torch.zeros(settings.experts, 1, settings.expert_sizes[1]))
        self.outputs = nn.Parameter(torch.empty(len(settings.tasks), settings.expert_sizes[1]))
        self.biases = nn.Parameter(torch.zeros(len(settings.tasks)))
        # A slope over the logarithm of the position, and the difference of each position from it.
        self.position_slope = nn.Parameter(torch.zeros(1))
        self.position = nn.Parameter(torch.zeros(POSITIONS + 1))
        self.dropout = nn.Dropout(settings.dropout)
        nn.init.normal_(self.ids.weight, std=0.01)
        nn.init.normal_(self.types.weight, std=0.1)
        nn.init.kaiming_uniform_(self.deeper, a=5**0.5)
        nn.init.normal_(self.outputs, std=0.1)
        # The components of unit vectors of many dimensions are small.
        nn.init.normal_(self.project.weight, std=1.0)

    def user(
        self, events: Tensor, rows: Tensor, types: Tensor, numbers: Tensor, long_term: Tensor, query: Tensor,
        context: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Once a request.

        `events` [r, s, d], `rows` [r, s] of the table, `types` [r, s] with 0 for padding, `numbers` [r, s,
        EVENT_NUMBERS], `long_term` and `query` [r, d], `context` [r, CONTEXT]. Gives keys [r, heads, w/heads, s + 1],
        values [r, heads, s + 1, w/heads], what is added to the attention [r, 1, 1, s + 1], long_term and query
        [r, 1, w], and what the user's side adds to the first layer [r, 1, outputs].
        """
        known = self.project(events) + self.ids(rows) + self.types(types)
        known = torch.relu(known + self.event_numbers(self.event_scale(numbers)))
        keys = self._heads(self._with_nothing(self.key(known), self.nothing_key))
        values = self._heads(self._with_nothing(self.value(known), self.nothing_value))
        bias = functional.pad((types == 0).float() * -1e4, (0, 1))[:, None, None]
        long, asked = self.project(long_term), self.project(query)
        first = self.of_user(torch.cat([long, asked, self.context_scale(context)], dim=1))
        return keys.transpose(2, 3), values, bias, long[:, None], asked[:, None], first[:, None]

    def candidates(
        self, keys: Tensor, values: Tensor, bias: Tensor, long: Tensor, asked: Tensor, first: Tensor,
        vectors: Tensor, rows: Tensor, numbers: Tensor,
    ) -> Tensor:  # fmt: skip
        """Once a candidate: logits [r, c, tasks].

        `vectors` [r, c, d], `rows` [r, c], `numbers` [r, c, CANDIDATE_NUMBERS]; all else from `user`.
        """
        item = self.project(vectors) + self.ids(rows)
        asking = self._heads(self.ask(item)) * (self.settings.width / self.settings.heads) ** -0.5
        attention = torch.softmax(asking @ keys + bias, dim=3)
        lately = (attention @ values).transpose(1, 2).flatten(2)
        seen = torch.cat([item, lately, lately * item, long * item, asked * item, self.candidate_scale(numbers)], dim=2)
        mixed = self.of_candidate(self.dropout(seen)) + first
        experts, width = self.settings.experts, self.settings.expert_sizes[0]
        hidden = torch.relu(mixed[..., : experts * width]).unflatten(2, (experts, width)).transpose(1, 2)
        hidden = torch.relu(hidden @ self.deeper + self.deeper_bias)
        gates = torch.softmax(mixed[..., experts * width :].unflatten(2, (-1, experts)), dim=3)
        # [r, c, tasks, experts]: the output of each expert for each task.
        outputs = (self.dropout(hidden) @ self.outputs.T).permute(0, 2, 3, 1)
        logits: Tensor = (gates * outputs).sum(3) + self.biases
        return logits

    def at_position(self, positions: Tensor) -> Tensor:
        """[r, c] positions from 1: what a position adds to the logit of the first task; 0 at the first position."""
        places = positions.clamp(1, POSITIONS)
        moved: Tensor = self.position_slope * places.log() + self.position[places] - self.position[1]
        return moved

    def tower(self) -> list[nn.Parameter]:
        """The parameters of `at_position`."""
        return [self.position_slope, self.position]

    def _heads(self, rows: Tensor) -> Tensor:
        """[r, n, w] -> [r, heads, n, w/heads]."""
        apart: Tensor = rows.unflatten(2, (self.settings.heads, -1)).transpose(1, 2)
        return apart

    @staticmethod
    def _with_nothing(rows: Tensor, nothing: Tensor) -> Tensor:
        return torch.cat([rows, nothing.expand(rows.shape[0], 1, -1)], dim=1)


class Scale(nn.Module):
    """Removes the mean and the spread of the first training's examples."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("spread", torch.ones(columns))

    def fit(self, rows: Tensor) -> None:
        """[n, columns]."""
        if len(rows):
            self.mean.copy_(rows.mean(0))
            self.spread.copy_(rows.std(0, correction=0).clamp(min=0.05))

    def forward(self, rows: Tensor) -> Tensor:
        return ((rows - self.mean) / self.spread).clamp(-5, 5)


def log_probabilities(logits: Tensor, chained: bool) -> Tensor:
    """[..., tasks] logits -> log probabilities over all that was shown; each below the one before it where chained."""
    each = functional.logsigmoid(logits)
    return each.cumsum(-1) if chained else each
