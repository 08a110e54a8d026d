"""How the events of a history move the parts of a score that the history makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from services.common.arrays import FloatArray


class Basis(Enum):
    """Which part of the history's score an event moves."""

    # The similarity of the items' vectors.
    SIMILAR = "similar"
    # The shopper model.
    SHOPPER = "shopper"
    # Counts of persons who acted on both items.
    TOGETHER = "together"


@dataclass(frozen=True)
class EventShares:
    """`values` [n, k]: how much the events on each of `item_ids` [k] raise each of n scores; negative: lower it.

    The scale is that of the model that made them; `Influences` scales them to the score.
    """

    item_ids: Sequence[str]
    values: FloatArray


@dataclass(frozen=True)
class Influence:
    """Of the events on one item on one score, in units of the score. `basis`: the part that they move most."""

    value: float
    basis: Basis


def influences_on(
    row: int, shares: Mapping[Basis, EventShares], parts: Mapping[Basis, float] | None
) -> dict[str, Influence]:
    """By item. `parts` are those of the score of this row; None: the shares are in units of the score already."""
    moved: dict[str, dict[Basis, float]] = {}
    for basis, of in shares.items():
        values = of.values[row]
        whole = float(np.abs(values).sum())
        if not whole:
            continue
        scale = 1.0 if parts is None else abs(parts.get(basis, 0.0)) / whole
        for item_id, value in zip(of.item_ids, values.tolist(), strict=True):
            moved.setdefault(item_id, {})[basis] = scale * value
    return {
        item_id: Influence(sum(by_basis.values()), max(by_basis, key=lambda basis: abs(by_basis[basis])))
        for item_id, by_basis in moved.items()
    }
