"""Vectors of items by what is bought together: a shopper's vector is the mean of the history's.

The softmax over the whole catalogue is sampled: negatives shared by a batch, drawn by popularity, with the log-Q
correction (Bengio and Senécal, 2008; uncorrected, what is popular would be pushed down). An item's vector is its own
part and one that is linear in its text's, so that an item hardly ever bought has one too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from tqdm import tqdm

from training.personal.signals import FloatArray, Signals

_HISTORY = 20
_TEXT_DIMENSIONS = 48
# A shopper's vector has this length: how sharp the softmax can get.
_LENGTH = 6.0


@dataclass(frozen=True)
class CompanionTraining:
    dimensions: int = 48
    epochs: int = 6
    most_steps: int = 1_500
    batch: int = 1_024
    negatives: int = 1_024
    learning_rate: float = 5e-3
    dropout: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Companions:
    """`given`, `sought` [items, dimensions]: an item as part of a history, and as what comes beside it."""

    given: FloatArray
    sought: FloatArray

    def affinity(self, history: npt.NDArray[np.int32], items: npt.NDArray[np.intp]) -> FloatArray:
        """[len(items)]: how much more than in general these are bought beside that; 0 without a history."""
        taste = self.given[history].sum(0)
        scaled: FloatArray = self.sought[items] @ (_LENGTH * taste / max(float(np.linalg.norm(taste)), 1e-9))
        return scaled


def train_companions(signals: Signals, settings: CompanionTraining) -> Companions:
    torch.manual_seed(settings.seed)
    net, pairs, histories = _Network(signals, settings), *_examples(signals)
    drawn_by = torch.from_numpy((signals.popularity + 1) ** 0.75)
    log_q = torch.log(drawn_by / drawn_by.sum() * settings.negatives)
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
    steps = min(settings.most_steps, settings.epochs * -(-len(pairs) // settings.batch))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / max(steps, 1), max(steps, 1))
    with tqdm(total=steps, desc="Training companions", unit=" steps") as progress:
        for rows in itertools.islice(_batches(len(pairs), settings.batch), steps):
            users, targets = pairs[rows].T
            negatives = torch.multinomial(drawn_by, settings.negatives, replacement=True)
            history = histories[users].masked_fill(histories[users] == targets[:, None], net.nothing)
            loss = net.loss(history, targets, negatives, log_q)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update()
    with torch.no_grad():
        items = torch.arange(net.nothing)
        return Companions(net.given(items).numpy(), net.sought(items).numpy())


def _batches(count: int, size: int) -> Iterator[torch.Tensor]:
    while count:
        yield from torch.randperm(count).split(size)


class _Network(torch.nn.Module):
    def __init__(self, signals: Signals, settings: CompanionTraining) -> None:
        super().__init__()
        self.nothing, size = len(signals.popularity), settings.dimensions
        text = _narrowed(signals.vectors)
        self.text = torch.from_numpy(np.vstack([text, np.zeros((1, text.shape[1]), np.float32)]))
        self.given_own, self.sought_own = (torch.nn.Embedding(self.nothing + 1, size) for _ in range(2))
        for own in (self.given_own, self.sought_own):
            torch.nn.init.normal_(own.weight, std=0.05)
        self.given_text, self.sought_text = (torch.nn.Linear(text.shape[1], size, bias=False) for _ in range(2))
        self.bias = torch.nn.Parameter(torch.from_numpy(np.log1p(signals.popularity)))
        self.dropout = settings.dropout

    def given(self, items: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.given_own(items) + self.given_text(self.text[items])
        return vectors

    def sought(self, items: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.sought_own(items) + self.sought_text(self.text[items])
        return vectors

    def loss(
        self, history: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, log_q: torch.Tensor
    ) -> torch.Tensor:
        """`history` [batch, most], padded with `nothing`; `targets` [batch], `negatives` [shared]."""
        there = (history != self.nothing).float()[..., None]
        tastes = (functional.dropout(self.given(history), self.dropout) * there).sum(1)
        tastes = _LENGTH * functional.normalize(tastes, dim=-1)
        right = (tastes * self.sought(targets)).sum(1) + self.bias[targets] - log_q[targets]
        wrong = tastes @ self.sought(negatives).T + self.bias[negatives] - log_q[negatives]
        wrong = wrong.masked_fill(negatives[None] == targets[:, None], -torch.inf)
        return (torch.logsumexp(torch.cat([right[:, None], wrong], 1), 1) - right).mean()


def _examples(signals: Signals) -> tuple[torch.Tensor, torch.Tensor]:
    """((user, item) [n, 2] of users with two purchases or more, histories [users, most] padded with no item)."""
    bought = signals.bought
    counts = np.diff(bought.indptr)
    users = np.repeat(np.arange(len(counts)), counts)
    several = counts[users] > 1
    pairs = np.stack([users[several], bought.indices[several]], axis=1).astype(np.int64)
    histories = np.full((len(counts), _HISTORY), len(signals.popularity), np.int64)
    places = np.arange(len(users)) - bought.indptr[users]
    kept = places < _HISTORY
    histories[users[kept], places[kept]] = bought.indices[kept]
    return torch.from_numpy(pairs), torch.from_numpy(histories)


def _narrowed(vectors: FloatArray) -> FloatArray:
    """[n, at most 48]: the main directions, scaled to a spread of 0.3."""
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    main = centred @ directions[:, -_TEXT_DIMENSIONS:]
    narrowed: FloatArray = (0.3 * main / max(float(main.std()), 1e-9)).astype(np.float32)
    return narrowed
