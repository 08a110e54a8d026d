"""Item vectors from co-purchases (item2vec: Barkan and Koenigstein, 2016); a user's vector is the sum of the history's.

Trained with a sampled softmax over the catalogue: the negatives are shared by a batch and drawn by popularity, with the
log-Q correction (Bengio and Senécal, 2008), without which popular items would get too low scores. An item's vector is
an embedding of its id plus a linear map of its text vector, so that rarely bought items have a vector too.
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

from services.common.arrays import unit_rows
from training.personal.signals import FloatArray, Signals

# Items of a history that training reads.
_HISTORY = 20
_TEXT_DIMENSIONS = 48
# Length of a user's vector: an inverse temperature of the softmax.
_LENGTH = 6.0


@dataclass(frozen=True)
class CoPurchaseTraining:
    """Hyperparameters; training ends after `epochs` or `most_steps` steps, whichever is less."""

    dimensions: int = 48
    epochs: int = 6
    most_steps: int = 1_500
    batch: int = 1_024
    negatives: int = 1_024
    learning_rate: float = 5e-3
    dropout: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class CoPurchaseVectors:
    """`context` and `target` [items, dimensions]: an item as part of a history, and as a candidate."""

    context: FloatArray
    target: FloatArray

    def affinity(self, history: npt.NDArray[np.int32], items: npt.NDArray[np.intp]) -> FloatArray:
        """[len(items)]: scores of `items` for a user with this history; 0 without a history."""
        user = unit_rows(self.context[history].sum(0))
        scaled: FloatArray = self.target[items] @ (np.float32(_LENGTH) * user)
        return scaled


def train_co_purchase(signals: Signals, settings: CoPurchaseTraining) -> CoPurchaseVectors:
    torch.manual_seed(settings.seed)
    net, pairs, histories = _Network(signals, settings), *_examples(signals)
    proposal = torch.from_numpy((signals.popularity + 1) ** 0.75)
    log_q = torch.log(proposal / proposal.sum() * settings.negatives)
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
    steps = min(settings.most_steps, settings.epochs * -(-len(pairs) // settings.batch))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / max(steps, 1), max(steps, 1))
    with tqdm(total=steps, desc="Training co-purchase vectors", unit=" steps") as progress:
        for rows in itertools.islice(_batches(len(pairs), settings.batch), steps):
            users, targets = pairs[rows].T
            negatives = torch.multinomial(proposal, settings.negatives, replacement=True)
            history = histories[users].masked_fill(histories[users] == targets[:, None], net.padding)
            loss = net.loss(history, targets, negatives, log_q)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update()
    with torch.no_grad():
        items = torch.arange(net.padding)
        return CoPurchaseVectors(net.context(items).numpy(), net.target(items).numpy())


def _batches(count: int, size: int) -> Iterator[torch.Tensor]:
    while count:
        yield from torch.randperm(count).split(size)


class _Network(torch.nn.Module):
    """Row `padding` stands for no item."""

    def __init__(self, signals: Signals, settings: CoPurchaseTraining) -> None:
        super().__init__()
        self.padding, size = len(signals.popularity), settings.dimensions
        text = _principal_components(signals.vectors)
        self.text = torch.from_numpy(np.vstack([text, np.zeros((1, text.shape[1]), np.float32)]))
        self.context_ids, self.target_ids = (torch.nn.Embedding(self.padding + 1, size) for _ in range(2))
        for ids in (self.context_ids, self.target_ids):
            torch.nn.init.normal_(ids.weight, std=0.05)
        self.context_text, self.target_text = (torch.nn.Linear(text.shape[1], size, bias=False) for _ in range(2))
        self.bias = torch.nn.Parameter(torch.from_numpy(np.log1p(signals.popularity)))
        self.dropout = settings.dropout

    def context(self, items: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.context_ids(items) + self.context_text(self.text[items])
        return vectors

    def target(self, items: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.target_ids(items) + self.target_text(self.text[items])
        return vectors

    def loss(
        self, history: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, log_q: torch.Tensor
    ) -> torch.Tensor:
        """`history` [batch, longest], with `padding`; `targets` [batch]; `negatives` [shared]; `log_q` [items]."""
        mask = (history != self.padding).float()[..., None]
        users = (functional.dropout(self.context(history), self.dropout) * mask).sum(1)
        users = _LENGTH * functional.normalize(users, dim=-1)
        positive = (users * self.target(targets)).sum(1) + self.bias[targets] - log_q[targets]
        negative = users @ self.target(negatives).T + self.bias[negatives] - log_q[negatives]
        negative = negative.masked_fill(negatives[None] == targets[:, None], -torch.inf)
        return (torch.logsumexp(torch.cat([positive[:, None], negative], 1), 1) - positive).mean()


def _examples(signals: Signals) -> tuple[torch.Tensor, torch.Tensor]:
    """((user, item) [n, 2] of users with at least two purchases, histories [users, 20] filled with padding)."""
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


def _principal_components(vectors: FloatArray) -> FloatArray:
    """[n, at most 48], scaled to a standard deviation of 0.3."""
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    main = centred @ directions[:, -_TEXT_DIMENSIONS:]
    scaled: FloatArray = (0.3 * main / max(float(main.std()), 1e-9)).astype(np.float32)
    return scaled
