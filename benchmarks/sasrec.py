"""SASRec as first published (Kang & McAuley, ICDM 2018): a baseline with one random negative for each positive.

Two blocks with one head, width 50, dropout 0.5, the latest 50 items, Adam with a learning rate of 0.001, batches of 128
users. Training stops if the validation has not improved for 20 epochs, or after `minutes`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from training.sequence.data import IntArray, Split
from training.sequence.evaluation import FloatArray, Scorer, ndcg, ranks
from training.sequence.train import batches

_VALIDATION_USERS, _EVERY = 5_000, 5


@dataclass(frozen=True)
class SasRecSettings:
    width: int = 50
    blocks: int = 2
    history: int = 50
    dropout: float = 0.5
    learning_rate: float = 1e-3
    batch: int = 128
    epochs: int = 200
    patience: int = 20
    minutes: float = 12.0
    seed: int = 0


def fit_sasrec(split: Split, item_count: int, settings: SasRecSettings) -> tuple[Scorer, dict[str, float]]:
    """(scorer of the best epoch, {epochs, best_epoch, validation_ndcg@10})."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    model = SasRec(item_count, settings)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, betas=(0.9, 0.98))
    sequences = [sequence[-settings.history - 1 :] for sequence in split.train if len(sequence) > 1]
    users = random.permutation(len(split.valid_targets))[:_VALIDATION_USERS]
    histories, targets = [split.valid_histories[row] for row in users], split.valid_targets[users]
    best, best_epoch, highest, started = model, 0, -1.0, time.monotonic()
    bar = tqdm(range(1, settings.epochs + 1), desc="SASRec as first published", unit=" epochs", mininterval=2)
    for epoch in bar:
        model.train()
        for batch in batches(sequences, settings.batch, random):
            loss = _loss(model, batch, random)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        out_of_time = time.monotonic() - started > 60 * settings.minutes
        if epoch % _EVERY == 0 or out_of_time:
            found = ndcg(ranks(_scorer(model), histories, targets))
            bar.set_postfix_str(f"NDCG@10 {found:.4f}")
            if found > highest:
                best, best_epoch, highest = deepcopy(model), epoch, found
            if out_of_time or epoch - best_epoch >= settings.patience:
                break
    return _scorer(best), {"epochs": epoch, "best_epoch": best_epoch, "validation_ndcg@10": highest}


class SasRec(nn.Module):
    """Row 0 is padding, which precedes a history; item i is row i + 1."""

    def __init__(self, item_count: int, settings: SasRecSettings) -> None:
        super().__init__()
        width, self.settings = settings.width, settings
        self.items = nn.Embedding(item_count + 1, width, padding_idx=0)
        self.positions = nn.Embedding(settings.history, width)
        self.queries = nn.ModuleList(nn.LayerNorm(width, eps=1e-8) for _ in range(settings.blocks))
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(width, 1, settings.dropout, batch_first=True) for _ in range(settings.blocks)
        )
        self.feeds = nn.ModuleList(nn.LayerNorm(width, eps=1e-8) for _ in range(settings.blocks))
        self.widen = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.blocks))
        self.narrow = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(width, eps=1e-8)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, histories: torch.Tensor) -> torch.Tensor:
        """Histories [b, l] -> states [b, l, width]."""
        length, is_item = histories.shape[1], (histories > 0)[..., None]
        state = self.items(histories) * self.settings.width**0.5 + self.positions.weight[-length:]
        state = functional.dropout(state, self.settings.dropout, self.training) * is_item
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        parts = zip(self.queries, self.attentions, self.feeds, self.widen, self.narrow, strict=True)
        for query_norm, attention, feed_norm, widen, narrow in parts:
            queries = query_norm(state)
            state = queries + attention(queries, state, state, attn_mask=later, need_weights=False)[0]
            state = feed_norm(state)
            fed = functional.dropout(functional.relu(widen(state)), self.settings.dropout, self.training)
            state = (state + functional.dropout(narrow(fed), self.settings.dropout, self.training)) * is_item
        normal: torch.Tensor = self.norm(state)
        return normal


def _loss(model: SasRec, sequences: Sequence[IntArray], random: np.random.Generator) -> torch.Tensor:
    count = model.items.num_embeddings - 1
    inputs, targets = (
        _padded([part + 1 for part in parts])
        for parts in ([sequence[:-1] for sequence in sequences], [sequence[1:] for sequence in sequences])
    )
    negatives = random.integers(0, count, targets.shape)
    for row, own in enumerate(sequences):
        # Items of the sequence itself are no negatives.
        while (positive := np.isin(negatives[row], own)).any() and len(np.unique(own)) < count:
            negatives[row, positive] = random.integers(0, count, int(positive.sum()))
    states, kept = model(inputs), targets > 0
    own_scores = (states * model.items(targets)).sum(-1)[kept]
    other_scores = (states * model.items(torch.as_tensor(negatives) + 1)).sum(-1)[kept]
    return functional.softplus(-own_scores).mean() + functional.softplus(other_scores).mean()


def _scorer(model: SasRec) -> Scorer:
    def score(histories: Sequence[IntArray]) -> FloatArray:
        model.eval()
        latest = [history[-model.settings.history :] + 1 for history in histories]
        with torch.no_grad():
            scores: FloatArray = (model(_padded(latest))[:, -1] @ model.items.weight[1:].T).numpy()
        return scores

    return score


def _padded(sequences: Sequence[IntArray]) -> torch.Tensor:
    rows = torch.zeros((len(sequences), max(1, *map(len, sequences))), dtype=torch.long)
    for row, sequence in zip(rows, sequences, strict=True):
        if len(sequence):
            row[-len(sequence) :] = torch.as_tensor(sequence)
    return rows
