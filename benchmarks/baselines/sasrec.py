"""SASRec (Kang & McAuley, ICDM 2018) of ids only, with a softmax over sampled negatives (Klenitskiy & Vasilev, RecSys
2023), which makes it far better than as first published.

Causal pre-norm attention over the latest 50 items. The negatives of a batch are drawn uniformly and shared by all its
positions. The validation chooses the epoch; then it is trained again on all that is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from benchmarks.baselines.data import IntArray, Split
from benchmarks.baselines.evaluation import FloatArray, Scorer, ndcg, ranks
from benchmarks.baselines.tuning import validation_sample


@dataclass(frozen=True)
class SasRecSettings:
    width: int = 128
    blocks: int = 1
    heads: int = 2
    history: int = 50
    dropout: float = 0.5
    learning_rate: float = 2e-3
    batch: int = 128
    negatives: int = 2_048
    epochs: int = 16
    # Decay of the moving average of the weights, which is what is measured.
    average: float = 0.998
    seed: int = 0


def fit_sasrec(split: Split, item_count: int, settings: SasRecSettings) -> tuple[Scorer, Mapping[str, Any]]:
    """(scorer, the settings with the chosen epoch and its validation NDCG@10)."""
    histories, targets = validation_sample(split, settings.seed)
    tried = []
    for epoch, model in enumerate(trained(split.train, item_count, settings), start=1):
        # Early epochs are not the best ones, and ranking takes time.
        if epoch > settings.epochs // 2:
            tried.append((ndcg(ranks(scorer(model), histories, targets)), epoch))
    highest, best = max(tried)
    *_, final = islice(trained(split.known, item_count, settings), best)
    return scorer(final), {**asdict(settings), "epoch": best, "validation_ndcg@10": round(highest, 5)}


def trained(sequences: Sequence[IntArray], item_count: int, settings: SasRecSettings) -> Iterator[SasRec]:
    """The network after each epoch; the next epoch changes it."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    model = SasRec(item_count, settings)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    longest = [sequence[-settings.history - 1 :] for sequence in sequences if len(sequence) > 1]
    steps, step = settings.epochs * math.ceil(len(longest) / settings.batch), 0
    with tqdm(total=steps, desc=f"SASRec, {settings.blocks} blocks", unit=" steps", mininterval=5) as bar:
        for _ in range(settings.epochs):
            model.train()
            for batch in batches(longest, settings.batch, random):
                rate = min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate
                loss = model.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                averaged.update_parameters(model)
                step += 1
                bar.update()
            yield cast(SasRec, averaged.module)


class SasRec(nn.Module):
    """Row `item_count` of the table is padding, which follows a history."""

    def __init__(self, item_count: int, settings: SasRecSettings) -> None:
        super().__init__()
        self.item_count, self.settings = item_count, settings
        self.items = nn.Embedding(item_count + 1, settings.width)
        self.positions = nn.Embedding(settings.history, settings.width)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                settings.width, settings.heads, settings.width, settings.dropout, "gelu", batch_first=True,
                norm_first=True,
            )
            for _ in range(settings.blocks)
        )  # fmt: skip
        self.norm = nn.LayerNorm(settings.width)

    def states(self, histories: torch.Tensor) -> torch.Tensor:
        """Histories [b, l] -> states [b, l, width]; a state sees no later item."""
        length = histories.shape[1]
        state = self.items(histories) * self.settings.width**0.5 + self.positions.weight[:length]
        state = functional.dropout(state, self.settings.dropout, self.training)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        for block in self.blocks:
            state = block(state, src_mask=later)
        normal: torch.Tensor = self.norm(state)
        return normal

    def loss(self, sequences: Sequence[IntArray]) -> torch.Tensor:
        """Every item of a sequence except the first is the target of the items before it."""
        targets = self.padded([sequence[1:] for sequence in sequences])
        kept = targets < self.item_count
        states, targets = self.states(self.padded([sequence[:-1] for sequence in sequences]))[kept], targets[kept]
        drawn = torch.randint(self.item_count, (min(self.settings.negatives, self.item_count),))
        own = (states * self.items(targets)).sum(1, keepdim=True)
        # Each negative stands for item_count / len(drawn) items.
        others = states @ self.items(drawn).T + math.log(self.item_count / len(drawn))
        others = others.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)
        loss: torch.Tensor = (torch.logsumexp(torch.cat([own, others], 1), 1) - own[:, 0]).mean()
        return loss

    def padded(self, histories: Sequence[IntArray]) -> torch.Tensor:
        """[b, longest]."""
        rows = torch.full((len(histories), max(1, *map(len, histories))), self.item_count)
        for row, history in zip(rows, histories, strict=True):
            row[: len(history)] = torch.as_tensor(history)
        return rows


def scorer(model: SasRec) -> Scorer:
    def score(histories: Sequence[IntArray]) -> FloatArray:
        model.eval()
        latest = [history[-model.settings.history :] for history in histories]
        last = torch.tensor([max(1, len(history)) - 1 for history in latest])
        with torch.no_grad():
            states = model.states(model.padded(latest))[torch.arange(len(latest)), last]
            scores: FloatArray = (states @ model.items.weight[:-1].T).numpy()
        return scores

    return score


def batches(sequences: Sequence[IntArray], size: int, random: np.random.Generator) -> Iterator[list[IntArray]]:
    """Random batches of sequences of similar length, which need less padding."""
    shuffled = random.permutation(len(sequences))
    order = shuffled[np.argsort([len(sequences[row]) // 4 for row in shuffled], kind="stable")]
    starts = np.arange(0, len(order), size)
    random.shuffle(starts)
    for start in starts:
        yield [sequences[row] for row in order[start : start + size]]
