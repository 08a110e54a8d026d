"""Whether a version of the shopper model may go live: a paired bootstrap over held-back persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from training.suite.cases import Case

Doubles = npt.NDArray[np.float64]
TOP = 10
# With fewer cases nothing is compared.
LEAST_CASES = 20
# Share that may be lost against the current version.
MARGIN = 0.02
# A group of the old sample with fewer cases is not judged by itself.
LEAST_GROUP = 50
_RESAMPLES, _CONFIDENCE = 1_000, 0.95


class Scorer(Protocol):
    """Scores of all items, [n], for the person of a case; `item_ids` has their order."""

    item_ids: Sequence[str]

    def scores(self, case: Case) -> FloatArray: ...


class Popularity:
    """The baseline: the number of events on each item."""

    def __init__(self, item_ids: Sequence[str], counts: npt.NDArray[np.integer]) -> None:
        self.item_ids, self._counts = item_ids, counts.astype(np.float32)

    def scores(self, case: Case) -> FloatArray:
        return self._counts


@dataclass(frozen=True)
class Measured:
    """By metric, a value for each case: `ndcg` over the whole order, `ndcg@10` and `hit@10` of the first ten."""

    persons: Sequence[str]
    values: Mapping[str, Doubles]

    def means(self) -> dict[str, float]:
        return {name: float(values.mean()) if len(values) else 0.0 for name, values in self.values.items()}


@dataclass(frozen=True)
class Change:
    """Relative to `before`; `low` and `high` bound it with 95 % confidence."""

    before: float
    after: float
    relative: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reason: str
    changes: Mapping[str, Change] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        return {name: asdict(change) for name, change in self.changes.items()}


def measured(scorer: Scorer, cases: Sequence[Case]) -> Measured:
    """The rank of each case's item among all items that are new to the person; ties count half."""
    row_of = {item_id: row for row, item_id in enumerate(scorer.item_ids)}
    ranks = np.array([_rank(scorer, case, row_of) for case in cases], np.float64)
    gain = 1 / np.log2(ranks + 1)
    values = {"ndcg": gain, "ndcg@10": np.where(ranks <= TOP, gain, 0.0), "hit@10": (ranks <= TOP).astype(np.float64)}
    return Measured([case.person for case in cases], values)


def compared(before: Measured, after: Measured, metric: str, chosen: npt.NDArray[np.bool_] | None = None) -> Change:
    """Of the same cases. Persons are drawn with replacement: the events of one are no independent sample."""
    rows = np.flatnonzero(np.ones(len(before.persons), bool) if chosen is None else chosen)
    a, b = before.values[metric][rows], after.values[metric][rows]
    names, person = np.unique(np.array(before.persons, np.str_)[rows], return_inverse=True)
    sums = np.stack([np.bincount(person, of, len(names)) for of in (a, b)])
    random = np.random.default_rng(0)
    weights = random.multinomial(len(names), np.full(len(names), 1 / len(names)), _RESAMPLES)
    drawn_a, drawn_b = weights @ sums[0], weights @ sums[1]
    relative = (drawn_b - drawn_a) / np.maximum(drawn_a, 1e-12)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(relative, [tail, 1 - tail])
    mean = float((b.sum() - a.sum()) / max(a.sum(), 1e-12))
    return Change(float(a.mean()), float(b.mean()), mean, float(low), float(high), len(rows))


def against_popularity(popularity: Measured, version: Measured) -> Verdict:
    """For the first version. It must rank better than the counts."""
    if len(version.persons) < LEAST_CASES:
        return Verdict(False, _too_few(len(version.persons)))
    changes = {metric: compared(popularity, version, metric) for metric in version.values}
    is_better = changes["ndcg"].relative > 0
    return Verdict(is_better, f"NDCG is {'better' if is_better else 'not better'} than that of popularity", changes)


def against_current(current: Measured, version: Measured) -> Verdict:
    """On events since the current version was trained. It may lose at most `MARGIN`, with confidence."""
    if len(version.persons) < LEAST_CASES:
        return Verdict(False, _too_few(len(version.persons)))
    changes = {metric: compared(current, version, metric) for metric in version.values}
    if (found := changes["ndcg"]).low < -MARGIN and found.relative < 0:
        return Verdict(False, f"NDCG may be worse by more than {MARGIN:.0%}", changes)
    return Verdict(True, "NDCG is no worse", changes)


def on_old_sample(current: Measured, version: Measured, cases: Sequence[Case]) -> Verdict:
    """The same old cases for every version: all, and by category, language and for idle persons.

    It is refused where the mean is worse by more than `MARGIN` and the interval lies below 0.
    """
    groups = sorted({group for case in cases for group in case.groups})
    chosen = {"all": np.ones(len(cases), bool)}
    chosen |= {group: np.array([group in case.groups for case in cases], bool) for group in groups}
    changes = {
        name: compared(current, version, "ndcg", rows)
        for name, rows in chosen.items()
        if rows.sum() >= (LEAST_CASES if name == "all" else LEAST_GROUP)
    }
    lost = [name for name, change in changes.items() if change.relative < -MARGIN and change.high < 0]
    if lost:
        return Verdict(False, f"on the old sample NDCG is worse by more than {MARGIN:.0%}: {', '.join(lost)}", changes)
    return Verdict(True, "the old sample is ranked no worse", changes)


def _rank(scorer: Scorer, case: Case, row_of: Mapping[str, int]) -> float:
    """From 1. An item that the scorer does not have is last."""
    row = row_of.get(case.item_id)
    if row is None:
        return float(len(row_of) + 1)
    scores = scorer.scores(case)
    known = [row_of[item_id] for item_id in case.known if item_id in row_of]
    own = scores[row]
    above, level = (scores > own).sum(), (scores == own).sum() - 1
    above -= (scores[known] > own).sum()
    level -= (scores[known] == own).sum()
    return float(1 + above + level / 2)


def _too_few(cases: int) -> str:
    return f"{cases} events of held-back persons; {LEAST_CASES} are needed to compare versions"
