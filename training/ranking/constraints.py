"""Constraints of exposure in training: groups of products get what is due to them, and harmful ones at most so much.

A Lagrangian: to the loss comes, for each constraint, its violation times a multiplier, and its square. The multipliers
move with the violations after each step (dual ascent); those of a maximum are not negative. The exposure of a product
must have a gradient: its place is replaced by a sum of sigmoids over the score differences (SoftRank: Taylor et al.,
WSDM 2008), and the end of the page by a sigmoid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.ranker.domain.user_features import IntArray

# Places that a page shows.
DEPTH = 10
# Of the sigmoids over score differences (logits), and over places.
_SCORES, _PLACES = 0.3, 1.0
# How fast the multipliers move, and the weight of the squares.
_RATE, _SQUARE = 0.005, 0.3
# Of the exposure of a step in the mean that moves the multipliers.
_NEWEST = 0.1


@dataclass(frozen=True)
class Constraints:
    """`groups`: names by product id; products without one are in no group. `due`: the share of all exposure that a
    group gets; `most`: the largest share of a group, for example of products that may do harm.
    """

    groups: Mapping[str, str]
    due: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, shares in (("due", self.due), ("most", self.most)):
            if wrong := sorted(group for group, share in shares.items() if not 0 <= share <= 1):
                raise ValueError(f"{name}.{wrong[0]} is no share; give 0 to 1")
        if unknown := sorted({*self.due, *self.most} - set(self.groups.values())):
            raise ValueError(f"no product is of the group {unknown[0]!r}; remove it from due and most")
        if sum(self.due.values()) > 1 + 1e-6:
            raise ValueError("due adds up to more than 1; give shares of all exposure")

    @classmethod
    def load(cls, file: Path) -> Constraints:
        """A JSON file with these fields, as `kairos fairness constraints` writes it. Raises ValueError."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} holds no constraints: {error}") from None


class Lagrangian:
    """Of one training. `item_ids` [v] are those of the examples."""

    def __init__(self, constraints: Constraints, item_ids: Sequence[str]) -> None:
        names = [*constraints.due, *(name for name in constraints.most if name not in constraints.due)]
        at = {name: number for number, name in enumerate(names)}
        # The last group is of all others.
        self._groups: IntArray = np.array(
            [at.get(constraints.groups.get(id, ""), len(names)) for id in item_ids], np.int64
        )
        self._count = len(names) + 1
        self._is_due = torch.tensor([name in constraints.due for name in names], dtype=torch.bool)
        self._goals = torch.tensor([constraints.due.get(name, constraints.most.get(name, 1.0)) for name in names])
        self.multipliers = torch.zeros(len(names))
        self._mean: Tensor | None = None

    def penalty(self, scores: Tensor, is_real: Tensor, items: IntArray) -> Tensor:
        """`scores` [r, c] of pages, `is_real` [r, c], `items` [r, c] rows of the items. Moves the multipliers."""
        shares = self._shares(scores, is_real, torch.from_numpy(self._groups[items]))
        violated = self._violations(shares)
        found = self.multipliers @ (shares - self._goals) + _SQUARE / 2 * violated.square().sum()
        with torch.no_grad():
            own = shares.detach()
            self._mean = own if self._mean is None else (1 - _NEWEST) * self._mean + _NEWEST * own
            # Not in place: the gradient of this step needs them as they were.
            moved = self.multipliers + _RATE * (self._mean - self._goals)
            self.multipliers = torch.where(self._is_due, moved, moved.clamp(min=0))
        return found

    def _violations(self, shares: Tensor) -> Tensor:
        """[constraints]: what is beyond a maximum, or away from what is due."""
        beyond = shares - self._goals
        return torch.where(self._is_due, beyond, beyond.clamp(min=0))

    def _shares(self, scores: Tensor, is_real: Tensor, groups: Tensor) -> Tensor:
        """[constraints] of all exposure of these pages."""
        held = scores.masked_fill(~is_real, -1e4)
        before = torch.sigmoid((held[:, None, :] - held[:, :, None]) / _SCORES) * is_real[:, None, :]
        # Of the product itself the sigmoid is a half.
        places = before.sum(2) + 0.5
        exposure = torch.sigmoid((DEPTH + 0.5 - places) / _PLACES) / torch.log2(1 + places) * is_real
        of_groups = torch.zeros(self._count).index_add(0, groups.reshape(-1), exposure.reshape(-1))
        shares: Tensor = of_groups[:-1] / of_groups.sum().clamp(min=1e-9)
        return shares
