"""Contrastive training, with parts left out at random, so that a missing one is normal.

A product finds itself, and what is like it, among the others of the batch, whichever parts are left of either: the
likeness to match is that of the whole concatenation. What the same shopper chose is drawn together on top of that;
alone it would teach little but the shelf, since most of what one clicks on a shelf is there by chance.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import trange

from training.product_tower.model import PARTS, ProductParts, ProductTower, TowerConfig, concatenation


@dataclass(frozen=True)
class TowerTraining:
    steps: int = 400
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    temperature: float = 0.08
    # How much a shopper's choices count beside the products themselves.
    choices: float = 0.1
    # How often a part is left out.
    part_dropout: float = 0.2
    seed: int = 7


def train(
    parts: ProductParts, pairs: npt.NDArray[np.int64], settings: TowerTraining, name: str = "tower"
) -> tuple[ProductTower, dict[str, Any]]:
    """`pairs`: shape [n, 2], rows of `parts` that were chosen together. The others of a batch are the negatives."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    tower = ProductTower(TowerConfig(parts.text.shape[1], parts.picture.shape[1], parts.price.shape[1]))
    optimizer = torch.optim.AdamW(tower.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    losses: list[float] = []
    bar = trange(settings.steps, desc=name, unit=" steps", mininterval=2)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        rows = pairs[random.integers(0, len(pairs), settings.batch)]
        whole, chosen = parts.take(rows[:, 0]), parts.take(rows[:, 1])
        left, right, other = (
            tower(*_some_left_out(side, settings.part_dropout, random).tensors()) for side in (whole, whole, chosen)
        )
        wanted = torch.nn.functional.normalize(concatenation(*whole.tensors()), dim=-1)
        loss = _as_alike(left @ right.T, wanted @ wanted.T, settings.temperature)
        loss = loss + settings.choices * _both_ways(left @ other.T / settings.temperature, torch.from_numpy(rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        bar.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}", refresh=False)
    return tower, asdict(settings) | {"pairs": len(pairs), "loss": round(float(np.mean(losses[-100:])), 4)}


def _as_alike(likeness: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Each row's shares of likeness are as wanted (relational distillation)."""
    return torch.nn.functional.kl_div(
        (likeness / temperature).log_softmax(1),
        (wanted / temperature).log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )


def _both_ways(likeness: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Each side finds the other among the batch; the same product in another pair is no negative."""
    same = (rows[:, :1] == rows[:, 1]) | (rows[:, 1:] == rows[:, 1]) | (rows[:, :1] == rows[:, 0])
    own = torch.eye(len(rows), dtype=torch.bool)
    likeness = likeness.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(rows))
    ahead = torch.nn.functional.cross_entropy(likeness, target)
    return (ahead + torch.nn.functional.cross_entropy(likeness.T, target)) / 2


def _some_left_out(parts: ProductParts, share: float, random: np.random.Generator) -> ProductParts:
    """One part at least stays of a product that has any."""
    kept = parts.present & (random.random(parts.present.shape) >= share)
    empty = ~kept.any(1)
    choice = np.eye(len(PARTS), dtype=bool)[random.integers(0, len(PARTS), len(parts))]
    kept[empty] = parts.present[empty] & choice[empty]
    still = ~kept.any(1)
    kept[still] = parts.present[still]
    return ProductParts(parts.text, parts.picture, parts.price, kept)


def pairs_of(baskets: list[list[int]], limit: int, seed: int) -> npt.NDArray[np.int64]:
    """Pairs of different products out of each list, at most `limit` from one; shape [n, 2]."""
    random = np.random.default_rng(seed)
    found: list[tuple[int, int]] = []
    for basket in baskets:
        unique = list(dict.fromkeys(basket))
        every = [(a, b) for at, a in enumerate(unique) for b in unique[at + 1 :]]
        picks = random.permutation(len(every))[:limit]
        found += [every[pick] for pick in picks]
    return np.array(found, np.int64).reshape(-1, 2)
