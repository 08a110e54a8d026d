"""Which arms of experiments a request belongs to, by a stable hash of its unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.common.experiment import INTERLEAVED, Arm, Experiment, place_of, unit_of


@dataclass(frozen=True)
class Assignment:
    """The arms of one request, by the id of the experiment, and what they change together.

    Where two arms disagree, that of the experiment whose id sorts last counts.
    """

    arms: tuple[tuple[str, str], ...] = ()
    configuration_ids: tuple[str, ...] = ()
    rule_ids: frozenset[str] = frozenset()
    without_rule_ids: frozenset[str] = frozenset()
    ranking_version: str = ""
    # With what the control arm of an interleaving changes; None: the request is in no interleaving.
    interleaving: Interleaving | None = None


@dataclass(frozen=True)
class Interleaving:
    """`arms`: the names of the control arm and of the other one. `other`: the assignment with the other one instead."""

    experiment: str
    arms: tuple[str, str]
    other: Assignment


NOT_ASSIGNED = Assignment()


class Experiments:
    """The published experiments of a tenant, by id. Which unit has which arm depends on nothing else."""

    def __init__(self, experiments: Mapping[str, Experiment]) -> None:
        # Holdouts first: their units are in no other experiment.
        self._all = sorted(
            # A switchback is of prices, which are the same for all units.
            (_Running(id, one) for id, one in experiments.items() if not one.is_switchback),
            key=lambda one: (not one.has_holdout, one.id),
        )

    def assign(self, user_id: str, visitor_id: str, now_s: float) -> Assignment:
        """`now_s` in seconds since the epoch. Empty ids: the request has none."""
        found: list[tuple[str, Arm]] = []
        interleaved: tuple[str, Arm, Arm] | None = None
        for experiment in self._all:
            if not experiment.starts_s <= now_s < experiment.ends_s:
                continue
            if experiment.orders is not None:
                # Control publishes one of a layer, and none of two layers: an answer is interleaved once.
                if interleaved is None and experiment.takes_part(user_id, visitor_id):
                    interleaved = experiment.id, *experiment.orders
                continue
            arm = experiment.arm_of(user_id, visitor_id)
            if arm is None:
                continue
            found.append((experiment.id, arm))
            if arm.is_holdout:
                break
        if interleaved is None:
            return _together(found) if found else NOT_ASSIGNED
        id, first, second = interleaved
        one, other = (_together([*found, (id, arm)]) for arm in (first, second))
        arms = tuple((name, INTERLEAVED if name == id else arm) for name, arm in one.arms)
        other = replace(other, arms=arms)
        return replace(one, arms=arms, interleaving=Interleaving(id, (first.name, second.name), other))


class _Running:
    def __init__(self, id: str, experiment: Experiment) -> None:
        self.id, self._unit, self._layer = id, experiment.unit, experiment.layer
        self._salt = experiment.salt or id
        self._from, self._to = float(experiment.traffic_from), float(experiment.traffic_to)
        self.starts_s = experiment.starts_at.timestamp() if experiment.starts_at else -math.inf
        self.ends_s = experiment.ends_at.timestamp() if experiment.ends_at else math.inf
        # Of an interleaving: the control arm and the other one.
        self.orders = (experiment.control, experiment.other) if experiment.is_interleaving else None
        self.has_holdout = any(arm.is_holdout for arm in experiment.arms)
        # Arms with the end of each one's part of [0, 1).
        self._arms: list[tuple[float, Arm]] = []
        for arm in experiment.arms:
            total = sum((one.share for _, one in self._arms), arm.share)
            self._arms.append((float(total), arm))

    def takes_part(self, user_id: str, visitor_id: str) -> bool:
        unit = unit_of(self._unit, user_id, visitor_id)
        return bool(unit) and self._from <= place_of("layer", self._layer, unit) < self._to

    def arm_of(self, user_id: str, visitor_id: str) -> Arm | None:
        if not self.takes_part(user_id, visitor_id):
            return None
        place = place_of("arm", self._salt, unit_of(self._unit, user_id, visitor_id))
        return next((arm for end, arm in self._arms if place < end), None)


def _together(found: Iterable[tuple[str, Arm]]) -> Assignment:
    arms = sorted(found, key=lambda entry: entry[0])
    versions = [arm.ranking_version for _, arm in arms if arm.ranking_version]
    return Assignment(
        tuple((id, arm.name) for id, arm in arms),
        tuple(arm.serving_configuration_id for _, arm in arms if arm.serving_configuration_id),
        frozenset(id for _, arm in arms for id in arm.rule_ids),
        frozenset(id for _, arm in arms for id in arm.without_rule_ids),
        versions[-1] if versions else "",
    )
