"""Training of the network on pages: every head is trained on all items that were shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from services.common.arrays import FloatArray
from services.ranker.domain.user_features import IntArray
from training.ranking.batches import Batch, Batches
from training.ranking.constraints import Constraints, Lagrangian
from training.ranking.examples import Examples
from training.ranking.network import RankerNetwork, log_probabilities

_MOST_GRADIENT = 5.0
# The position tower is made of single numbers, which need larger steps than the rest of the network.
_TOWER_RATE = 10.0


@dataclass(frozen=True)
class Training:
    pages_per_step: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    # The share of items that are trained on without their id, as new items are served.
    id_dropout: float = 0.2
    # Position bias: a tower of its own, clicks weighted by the inverse examination probability, or no correction.
    debias: Literal["tower", "weights", "none"] = "tower"
    # The weight of the listwise loss against the loss of the probabilities.
    listwise: float = 0.1
    # Share of the newest pages that calibrate, and do not train.
    held_back: float = 0.1


def train(
    network: RankerNetwork,
    examples: Examples,
    rows: IntArray,
    settings: Training,
    epochs: int,
    seed: int,
    click_weights: FloatArray | None = None,
    quiet: bool = True,
    constraints: Constraints | None = None,
) -> list[float]:
    """The mean loss of each epoch.

    `rows` [v] are the items' rows in the table of ids, `click_weights` [n] what a click counts; None: one each.
    """
    lagrangian = None if constraints is None else Lagrangian(constraints, examples.item_ids.tolist())
    tower = {id(parameter) for parameter in network.tower()}
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in network.parameters() if id(parameter) not in tower]},
        {"params": network.tower(), "lr": settings.learning_rate * _TOWER_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
    steps = math.ceil(examples.page_count / settings.pages_per_step)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, max(1, epochs * steps))
    batches, labels = Batches(examples, rows), labels_of(examples, network.settings.tasks)
    random, losses = np.random.default_rng(seed), []
    network.train()
    with (
        torch.random.fork_rng(devices=[]),
        tqdm(total=epochs * steps, desc="ranker", unit=" steps", disable=quiet) as bar,
    ):
        # Dropout draws from torch's one generator.
        torch.manual_seed(seed)
        for _ in range(epochs):
            total = 0.0
            for batch in batches.each(random.permutation(examples.page_count), settings.pages_per_step):
                batch = _without_some_ids(batch, settings.id_dropout)
                loss = loss_of(network, batch, labels, settings, click_weights)
                if lagrangian is not None:
                    items = examples.item[np.where(batch.examples.numpy() >= 0, batch.examples.numpy(), 0)]
                    # As served: of the first task, without the place.
                    clicks = batch.logits(network)[..., 0]
                    loss = loss + lagrangian.penalty(clicks, batch.examples >= 0, items)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), _MOST_GRADIENT)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
                bar.update()
            losses.append(total / max(1, steps))
            bar.set_postfix(loss=f"{losses[-1]:.4f}")
    network.eval()
    return losses


def loss_of(
    network: RankerNetwork,
    batch: Batch,
    labels: FloatArray,
    settings: Training,
    click_weights: FloatArray | None = None,
) -> Tensor:
    """Binary cross-entropy of each task over all that was shown, the mean over examples, summed over tasks.

    With weights, the loss of a click is w x that of a hit and (1 - w) x that of a miss: unbiased where w is one over
    the chance that its place is looked at (Saito et al., WSDM 2020).
    """
    logits = batch.logits(network)
    if settings.debias == "tower":
        logits = with_positions(network, logits, batch.positions)
    is_real = batch.examples >= 0
    wanted = torch.from_numpy(labels)[batch.examples][is_real]
    if click_weights is not None:
        wanted = wanted * torch.from_numpy(click_weights)[batch.examples][is_real].unsqueeze(1)
    hit = log_probabilities(logits[is_real], network.settings.chained)
    # log(1 - p), away from p = 1.
    miss = torch.log(-torch.expm1(hit.clamp(max=-1e-6)))
    pointwise = -(wanted * hit + (1 - wanted) * miss).mean(0).sum()
    if not settings.listwise:
        return pointwise
    # Each task's softmax over the list against what was done in it.
    inside = log_probabilities(logits, network.settings.chained).masked_fill(~is_real.unsqueeze(2), -1e9)
    done = torch.zeros_like(inside)
    done[is_real] = wanted
    return pointwise - settings.listwise * (done * torch.log_softmax(inside, 1)).sum(1).mean(0).sum()


def with_positions(network: RankerNetwork, logits: Tensor, positions: Tensor) -> Tensor:
    """What a place does to the first head; in a network whose heads are not chained, to each."""
    moved = network.at_position(positions).unsqueeze(-1)
    if not network.settings.chained:
        return logits + moved
    return torch.cat([logits[..., :1] + moved, logits[..., 1:]], dim=-1)


def labels_of(examples: Examples, tasks: tuple[str, ...]) -> FloatArray:
    """[n, tasks]."""
    return np.stack([getattr(examples, task) for task in tasks], axis=1)


def _without_some_ids(batch: Batch, share: float) -> Batch:
    events, rows, *rest = batch.user
    vectors, own, numbers = batch.items
    rows, own = (r * (torch.rand(r.shape) >= share) for r in (rows, own))
    return Batch((events, rows, *rest), (vectors, own, numbers), batch.positions, batch.examples)
