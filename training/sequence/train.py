"""Trains the sequence network; the validation selects the epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.sequence.data import IntArray, Split
from training.sequence.evaluation import FloatArray, Scorer, ndcg, ranks
from training.sequence.network import ItemTokens, NetworkSettings, SequenceNetwork
from training.sequence.softmax import full_softmax_loss


@dataclass(frozen=True)
class TrainSettings:
    """Hyperparameters. `minutes` limits the time, and the learning rate reaches 0 by then.

    The result has averaged weights: an exponential moving average with decay `average`.
    """

    epochs: int = 14
    learning_rate: float = 2e-3
    batch: int = 128
    average: float = 0.998
    warm_up_steps: int = 200
    minutes: float = 25.0
    seed: int = 0


# The last third of the epochs is validated, on a sample of users.
_VALIDATED_SHARE, _VALIDATION_USERS = 1 / 3, 5_000


def train(
    split: Split, tokens: ItemTokens, item_count: int, network: NetworkSettings, settings: TrainSettings
) -> tuple[SequenceNetwork, list[float]]:
    """(the network of the best epoch, validation NDCG@10 by validated epoch)."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    model = SequenceNetwork(item_count, tokens, network)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    sequences = [sequence[-network.history - 1 :] for sequence in split.train if len(sequence) > 1]
    users = random.permutation(len(split.valid_targets))[:_VALIDATION_USERS]
    histories, targets = [split.valid_histories[row] for row in users], split.valid_targets[users]
    steps = settings.epochs * math.ceil(len(sequences) / settings.batch)
    best, step, started = model, 0, time.monotonic()
    curve: list[float] = []
    with tqdm(total=steps, desc="sequence network", unit=" steps", mininterval=2) as bar:
        for epoch in range(settings.epochs):
            model.train()
            for batch in batches(sequences, settings.batch, random):
                spent = (time.monotonic() - started) / (60 * settings.minutes)
                progress = max(step / steps, min(spent, 1.0))
                rate = min(1.0, (step + 1) / settings.warm_up_steps) * 0.5 * (1 + math.cos(math.pi * progress))
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate
                loss = _loss(model, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                averaged.update_parameters(model)
                step += 1
                bar.update()
            out_of_time = time.monotonic() - started > 60 * settings.minutes
            if out_of_time or epoch + 1 >= settings.epochs * (1 - _VALIDATED_SHARE):
                mean = cast(SequenceNetwork, averaged.module)
                curve.append(ndcg(ranks(scorer(mean), histories, targets)))
                bar.set_postfix_str(f"NDCG@10 {curve[-1]:.4f}")
                if curve[-1] >= max(curve):
                    best = deepcopy(mean)
            if out_of_time:
                break
    return best.eval(), curve


def scorer(model: SequenceNetwork) -> Scorer:
    """Logits over all items; the item vectors are computed once."""
    model.eval()
    with torch.no_grad():
        items = model.items()

    def score(histories: Sequence[IntArray]) -> FloatArray:
        with torch.no_grad():
            scores: FloatArray = (model.last_states(items, histories) @ items.T).numpy()
        return scores

    return score


def _loss(model: SequenceNetwork, sequences: Sequence[IntArray]) -> torch.Tensor:
    """Every item of a sequence except the first is the target of the items before it."""
    items = model.items()
    states = model.states(items, model.padded([sequence[:-1] for sequence in sequences]))
    targets = model.padded([sequence[1:] for sequence in sequences])
    kept = targets < model.item_count
    return full_softmax_loss(states[kept], items, targets[kept])


def batches(sequences: Sequence[IntArray], size: int, random: np.random.Generator) -> Iterator[list[IntArray]]:
    """Random batches of sequences of similar length, which need less padding."""
    shuffled = random.permutation(len(sequences))
    order = shuffled[np.argsort([len(sequences[row]) // 4 for row in shuffled], kind="stable")]
    starts = np.arange(0, len(order), size)
    random.shuffle(starts)
    for start in starts:
        yield [sequences[row] for row in order[start : start + size]]
