"""Exposure of groups of products against their merit, and the offsets of groups with which it follows their merit.

A product in a list has exposure by its place, 1 / log2(1 + place), down to DEPTH. What a group deserves is its exposure
if each list was ordered by merit, and products of equal merit shared their places (Diaz et al., CIKM 2020). The gap is
half the sum of the distances between the two, as shares of all exposure: the part that should go to other groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.serving_configuration import MAX_FACTOR_WEIGHT
from training.evaluation.estimates import Doubles, Integers

DEPTH = 10
# Of a gap that is left, by default.
REDUCTION = 0.6
_STEPS, _STEP = 60, 0.02


@dataclass(frozen=True)
class GroupedLists:
    """n candidates of r lists: `lists` [n], ascending from 0, `groups` [n] rows of `names`, `scores` [n] that order
    each list within its `tiers` [n], and `merits` [n], not negative.
    """

    lists: Integers
    groups: Integers
    names: Sequence[str]
    scores: Doubles
    tiers: Integers
    merits: Doubles

    @property
    def count(self) -> int:
        return int(self.lists[-1]) + 1 if len(self.lists) else 0

    def scaled(self) -> GroupedLists:
        """With the scores of each list in [0, 1], as offsets are added to them."""
        low, high = np.full(self.count, np.inf), np.full(self.count, -np.inf)
        np.minimum.at(low, self.lists, self.scores)
        np.maximum.at(high, self.lists, self.scores)
        spread = np.where(high > low, high - low, 1.0)
        return replace(self, scores=(self.scores - low[self.lists]) / spread[self.lists])

    def take(self, chosen: npt.NDArray[np.bool_]) -> GroupedLists:
        """The lists [r] that are chosen."""
        rows = chosen[self.lists]
        lists = (np.cumsum(chosen) - 1)[self.lists[rows]]
        return GroupedLists(
            lists, self.groups[rows], self.names, self.scores[rows], self.tiers[rows], self.merits[rows]
        )


def places(grouped: GroupedLists, offsets: Doubles | None = None) -> Integers:
    """[n], from 1. `offsets` of each group are added to the scores."""
    scores = grouped.scores if offsets is None else grouped.scores + offsets[grouped.groups]
    return _places(grouped.lists, np.lexsort((-scores, grouped.tiers, grouped.lists)))


def exposure_of(places: Integers) -> Doubles:
    """[n] of places from 1; 0 beyond DEPTH."""
    return np.where(places <= DEPTH, 1 / np.log2(1 + places), 0.0)


def deserved(lists: Integers, merits: Doubles) -> Doubles:
    """[n]: the exposure in the order of merit, shared by candidates of equal merit in a list."""
    order = np.lexsort((-merits, lists))
    exposure = exposure_of(_places(lists, order))[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (np.diff(lists[order]) != 0) | (np.diff(merits[order]) != 0)
    ties = np.cumsum(is_new) - 1
    shared = np.bincount(ties, exposure) / np.maximum(np.bincount(ties), 1) if len(order) else np.zeros(0)
    found = np.empty(len(order))
    found[order] = shared[ties]
    return found


def shares(exposure: Doubles, groups: Integers, count: int) -> Doubles:
    """[count] of all exposure."""
    of_groups = np.bincount(groups, exposure, count)
    total = of_groups.sum()
    return np.asarray(of_groups / total if total else of_groups, np.float64)


def gap(exposed: Doubles, due: Doubles) -> float:
    """Of shares [groups]: 0 to 1."""
    return float(np.abs(exposed - due).sum() / 2)


def gap_of(grouped: GroupedLists, offsets: Doubles | None = None) -> float:
    count = len(grouped.names)
    exposed = shares(exposure_of(places(grouped, offsets)), grouped.groups, count)
    return gap(exposed, shares(deserved(grouped.lists, grouped.merits), grouped.groups, count))


def ndcg_of(grouped: GroupedLists, offsets: Doubles | None = None) -> Doubles:
    """[lists with merit]: NDCG@10 with the merits as gains."""
    discounted = exposure_of(places(grouped, offsets)) * grouped.merits
    best = exposure_of(_places(grouped.lists, np.lexsort((-grouped.merits, grouped.lists)))) * grouped.merits
    found, most = (np.bincount(grouped.lists, part, grouped.count) for part in (discounted, best))
    return np.asarray(found[most > 0] / most[most > 0], np.float64)


@dataclass(frozen=True)
class Fitted:
    """`offsets` [groups], of scores scaled to [0, 1]; gaps and NDCG@10 without and with them, on the same lists."""

    offsets: Doubles
    gap_before: float
    gap_after: float
    ndcg_before: float
    ndcg_after: float


def fit_offsets(
    grouped: GroupedLists, reduction: float = REDUCTION, halves: Integers | None = None, least_share: float = 0.001
) -> Fitted:
    """The least offsets, from 0 on, with which the gap is smaller by `reduction`, or those with the least gap.

    Dual ascent: a group's offset is the multiplier of its constraint, and moves with what the group lacks. How many
    steps it takes is decided on lists that did not fit: each half is judged by the offsets of the other one. `halves`
    [lists], 0 or 1: lists of one query are in one half; default, and with one query: every other list. Groups with a
    smaller share of what is due than `least_share` are not moved: too little is known of them.
    """
    grouped = grouped.scaled()
    if halves is None or len(np.unique(halves)) < 2:
        halves = np.arange(grouped.count) % 2
    judged = np.zeros(_STEPS + 1)
    for half in (0, 1):
        fitted_to, held = grouped.take(halves == half), grouped.take(halves != half)
        if fitted_to.count and held.count:
            due = shares(deserved(held.lists, held.merits), held.groups, len(held.names))
            for number, offsets in enumerate(_path(fitted_to, least_share)):
                exposed = shares(exposure_of(places(held, offsets)), held.groups, len(held.names))
                judged[number] += gap(exposed, due)
    good = np.flatnonzero(judged <= (1 - reduction) * judged[0])
    steps = int(good[0]) if len(good) else int(judged.argmin())
    found = _path(grouped, least_share)[steps]
    ndcg = (float(ndcg_of(grouped, offsets).mean()) for offsets in (None, found))
    return Fitted(found, gap_of(grouped), gap_of(grouped, found), *ndcg)


def _path(grouped: GroupedLists, least_share: float) -> list[Doubles]:
    """The offsets after 0 to _STEPS steps, of scaled scores."""
    count = len(grouped.names)
    due = shares(deserved(grouped.lists, grouped.merits), grouped.groups, count)
    moved, offsets = due >= least_share, np.zeros(count)
    found = [offsets]
    for _ in range(_STEPS):
        exposed = shares(exposure_of(places(grouped, offsets)), grouped.groups, count)
        lacking = np.divide(due - exposed, due, out=np.zeros(count), where=due > 0)
        step = _STEP * np.where(moved, np.clip(lacking, -1, 1), 0)
        offsets = np.clip(offsets + step, -MAX_FACTOR_WEIGHT, MAX_FACTOR_WEIGHT)
        found.append(offsets)
    return found


def gini(values: npt.NDArray[Any]) -> float:
    """0: all have the same; 1: one has all."""
    ordered = np.sort(values)
    total = ordered.sum()
    if not total:
        return 0.0
    weights = 2 * np.arange(1, len(ordered) + 1) - len(ordered) - 1
    return float(weights @ ordered / (len(ordered) * total))


def _places(lists: Integers, order: npt.NDArray[np.intp]) -> Integers:
    """[n], from 1, of rows in their order, list by list."""
    starts = np.searchsorted(lists, np.arange(int(lists[-1]) + 1 if len(lists) else 0))
    found = np.empty(len(lists), np.int64)
    found[order] = np.arange(len(lists)) - starts[lists[order]] + 1
    return found
