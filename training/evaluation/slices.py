"""The difference between two arms, over all persons and in each slice of them, the worst case first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from training.evaluation.estimates import Doubles, Integers
from training.evaluation.trial_persons import TrialPersons

# A mean of fewer persons has no interval by the central limit theorem.
LEAST_PERSONS = 30
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Slice:
    """`difference` of the means, treatment - control; `low` and `high` 95 %.

    `holds`: the difference is not chance, with 95 % for all slices together (Holm, 1979).
    """

    by: str
    name: str
    control_persons: int
    treated_persons: int
    control: float
    treatment: float
    difference: float
    low: float
    high: float
    holds: bool = False


def whole(persons: TrialPersons, outcomes: Doubles) -> Slice:
    """Of all persons."""
    return _slice("all", "all", persons.treated, outcomes)


def slices(persons: TrialPersons, outcomes: Doubles, with_categories: bool) -> list[Slice]:
    """By month of the assignment, by each attribute, and by the category of what was bought; the lowest bound first.

    `outcomes` [n]. Slices with fewer than LEAST_PERSONS in an arm are left out. `with_categories`: the outcome is the
    number of pieces.
    """
    found = [
        _slice(by, name, treated, of)
        for by, name, treated, of in _parts(persons, outcomes, with_categories)
        if min(treated.sum(), (1 - treated).sum()) >= LEAST_PERSONS
    ]
    return sorted(_tested(found), key=lambda each: each.low)


def _parts(
    persons: TrialPersons, outcomes: Doubles, with_categories: bool
) -> Iterator[tuple[str, str, Integers, Doubles]]:
    for by, values in {"month": persons.months, **persons.attributes}.items():
        for value in np.unique(values).tolist():
            rows = values == value
            yield by, value or "unknown", persons.treated[rows], outcomes[rows]
    if with_categories:
        for name, pieces in persons.by_category.items():
            yield "category", name, persons.treated, pieces


def _slice(by: str, name: str, treated: Integers, outcomes: Doubles) -> Slice:
    ours, theirs = outcomes[treated == 1], outcomes[treated == 0]
    difference = float(ours.mean() - theirs.mean())
    half = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2) * _error(ours, theirs)
    return Slice(
        by, name, len(theirs), len(ours), float(theirs.mean()), float(ours.mean()), difference, difference - half,
        difference + half,
    )  # fmt: skip


def _error(ours: Doubles, theirs: Doubles) -> float:
    if min(len(ours), len(theirs)) < 2:
        return float("inf")
    return float(np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs)))


def _tested(found: list[Slice]) -> list[Slice]:
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    p = {}
    for at, each in enumerate(found):
        error = (each.high - each.low) / (2 * z)
        p[at] = 2 * (1 - NormalDist().cdf(abs(each.difference) / error)) if error > 0 else float(not each.difference)
    held, still = set(), True
    for rank, at in enumerate(sorted(p, key=lambda at: p[at])):
        still = still and p[at] <= (1 - _CONFIDENCE) / (len(found) - rank)
        if still:
            held.add(at)
    return [Slice(**{**vars(each), "holds": at in held}) for at, each in enumerate(found)]
