"""The verdict of an experiment: metrics by arm, differences with intervals that hold at any time, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from experiments.outcomes import Outcomes, Sample
from experiments.sequential import LEAST_UNITS, Difference, adjusted, difference_of, linearised, ratio_p_value
from experiments.table import LogTable
from services.common.experiment import CREDITS, LOWER_IS_BETTER, METRICS, OF_PRICES, Experiment, Metric

BETTER, WORSE, UNDECIDED = "better", "worse", "not distinguishable"
# A sample ratio as unlikely as this makes an experiment invalid.
RATIO_ALARM = 0.01
# Times at which the running experiment is looked at for its plot and for the sample ratio.
_LOOKS = 28


@dataclass(frozen=True)
class ArmFigures:
    """`values` by metric: shares for all but revenue (a unit's, in `currency`) and click_position; NaN: not known."""

    name: str
    share: float
    units: int
    answers: int
    values: dict[Metric, float]
    latency_p50_ms: float
    latency_p95_ms: float
    versions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Of an arm with the control arm. `low` and `high` hold at any time. `relative`: share of the control's value.

    `variance_left`: of the variance without what was known before the exposure; 1: nothing was known.
    """

    arm: str
    metric: Metric
    difference: float
    low: float
    high: float
    relative: float
    p_value: float
    variance_left: float

    def judgement(self, harm: float = 0.0) -> str:
        """`harm`: what does not count as worse."""
        low, high = (-self.high, -self.low) if self.metric in LOWER_IS_BETTER else (self.low, self.high)
        return BETTER if low > 0 else WORSE if high < -harm else UNDECIDED


@dataclass(frozen=True)
class Look:
    """The primary metric at one time, by arm without the control arm: (difference, low, high)."""

    at_s: float
    units: int
    intervals: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Analysis:
    """`verdicts`: of the primary metric, by arm. `broken`: guardrails that are broken, in words. `problems`: what makes
    the experiment invalid, in words.
    """

    id: str
    primary_metric: Metric
    control_arm: str
    first_s: float
    last_s: float
    arms: list[ArmFigures]
    comparisons: list[Comparison]
    verdicts: dict[str, str]
    broken: list[str]
    ratio_p_value: float
    problems: list[str]
    notes: list[str]
    looks: list[Look]
    currency: str
    # Whose values and differences: those of this module, of experiments.interleaving or of experiments.switchback.
    mode: Literal["A/B test", "interleaving", "switchback"] = "A/B test"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return {"interleaving": CREDITS, "switchback": OF_PRICES}.get(self.mode, METRICS)


def analysed(table: LogTable, id: str, experiment: Experiment, until_s: float = np.inf) -> Analysis:
    """Of what is known up to `until_s` (seconds since the epoch)."""
    outcomes = Outcomes(table, id, experiment)
    first_s, last_s = outcomes.times_s
    last_s = min(last_s, until_s, experiment.ends_at.timestamp() if experiment.ends_at else np.inf)
    sample = outcomes.at(last_s)
    others = [arm.name for arm in experiment.arms if arm.name != experiment.control.name]
    alpha = experiment.significance / len(others)
    comparisons = [
        found
        for arm in others
        for metric in METRICS
        if (found := compared(sample, experiment, arm, metric, alpha)) is not None
    ]
    looks, smallest = _looks(outcomes, experiment, others, alpha, first_s, last_s)
    smallest = min(smallest, sample_ratio(sample, experiment))
    primary = {one.arm: one.judgement() for one in comparisons if one.metric == experiment.primary_metric}
    problems = []
    if smallest < RATIO_ALARM:
        problems.append(
            f"the arms do not have the units that their shares promise (p = {smallest:.2g}): find out what keeps units "
            "of one arm from the log, and begin again under another id"
        )
    notes = []
    if outcomes.moved:
        notes.append(f"{outcomes.moved} units were seen in two arms; they count in their first one")
    if outcomes.unpriced:
        notes.append(f"{outcomes.unpriced} purchases have no price, or another currency; they count without revenue")
    if few := [
        arm.name for arm, n in zip(experiment.arms, _counts(sample, experiment), strict=True) if n < LEAST_UNITS
    ]:
        notes.append(f"fewer than {LEAST_UNITS} units in {', '.join(few)}: nothing is concluded yet")
    return Analysis(
        id, experiment.primary_metric, experiment.control.name, first_s, last_s,
        [_figures(sample, experiment, place) for place in range(len(experiment.arms))], comparisons,
        {arm: primary.get(arm, UNDECIDED) for arm in others}, _broken(sample, experiment, others), smallest, problems,
        notes, looks, outcomes.currency,
    )  # fmt: skip


def _counts(sample: Sample, experiment: Experiment) -> list[int]:
    return [int(count) for count in np.bincount(sample.arm, minlength=len(experiment.arms))]


def sample_ratio(sample: Sample, experiment: Experiment) -> float:
    counts = _counts(sample, experiment)
    names = [arm.name for arm in experiment.arms]
    return ratio_p_value(
        dict(zip(names, counts, strict=True)), {arm.name: float(arm.share) for arm in experiment.arms}
    )  # fmt: skip


def compared(sample: Sample, experiment: Experiment, arm: str, metric: Metric, alpha: float) -> Comparison | None:
    """None while too little is known."""
    found = _difference(sample, experiment, arm, metric)
    return None if found is None else _comparison(found, experiment, arm, metric, alpha)


def _comparison(
    found: tuple[Difference, float, float], experiment: Experiment, arm: str, metric: Metric, alpha: float
) -> Comparison | None:
    difference, variance_left, base = found
    if not difference.standard_error:
        # Nothing of the kind has happened in either arm.
        return None
    low, high = difference.interval(experiment.planned_units, alpha)
    relative = difference.value / base if base else float("nan")
    p_value = difference.p_value(experiment.planned_units, alpha)
    return Comparison(arm, metric, difference.value, low, high, relative, p_value, variance_left)


def _difference(
    sample: Sample, experiment: Experiment, arm: str, metric: Metric
) -> tuple[Difference, float, float] | None:
    """(difference, variance that is left by what was known before, the control arm's value)."""
    names = [one.name for one in experiment.arms]
    values, before = [], []
    for name in (experiment.control.name, arm):
        rows = sample.arm == names.index(name)
        numerators, denominators = sample.numerators[metric][rows], sample.denominators[metric][rows]
        if rows.sum() < LEAST_UNITS or not denominators.any():
            return None
        values.append(linearised(numerators, denominators))
        before.append(sample.before[rows])
    raw, difference = difference_of(*values), difference_of(*adjusted(values, before))
    left = (difference.standard_error / raw.standard_error) ** 2 if raw.standard_error else 1.0
    return difference, left, float(values[0].mean())


def _broken(sample: Sample, experiment: Experiment, others: Sequence[str]) -> list[str]:
    """All guardrails of all arms together are wrong with at most the probability `significance`."""
    found = []
    alpha = experiment.significance / (len(others) * len(experiment.guards))
    for arm in others:
        for guard in experiment.guards:
            known = _difference(sample, experiment, arm, guard.metric)
            one = None if known is None else _comparison(known, experiment, arm, guard.metric, alpha)
            if known is None or one is None:
                continue
            if one.judgement(guard.maximum_harm * abs(known[2])) == WORSE:
                found.append(
                    f"{guard.metric} of {arm} is worse than of {experiment.control.name} by {_bounds(one)}, "
                    f"allowed {guard.maximum_harm:.1%} of {known[2]:.4g}"
                )
    return found


def _bounds(one: Comparison) -> str:
    return f"{one.low:+.4g} to {one.high:+.4g}"


def _looks(
    outcomes: Outcomes, experiment: Experiment, others: Sequence[str], alpha: float, first_s: float, last_s: float
) -> tuple[list[Look], float]:
    """(looks, the least p-value of the sample ratio at them)"""
    looks, smallest = list[Look](), 1.0
    for at_s in np.linspace(first_s, last_s, _LOOKS + 1)[1:] if last_s > first_s else ():
        sample = outcomes.at(float(at_s))
        smallest = min(smallest, sample_ratio(sample, experiment))
        intervals = {}
        for arm in others:
            one = compared(sample, experiment, arm, experiment.primary_metric, alpha)
            if one is not None:
                intervals[arm] = (one.difference, one.low, one.high)
        looks.append(Look(float(at_s), len(sample.arm), intervals))
    return looks, smallest


def _figures(sample: Sample, experiment: Experiment, place: int) -> ArmFigures:
    rows, arm, latencies = sample.arm == place, experiment.arms[place], sample.latencies[place]
    values = {}
    for metric in METRICS:
        below = float(sample.denominators[metric][rows].sum())
        values[metric] = float(sample.numerators[metric][rows].sum()) / below if below else float("nan")
    p50, p95 = np.quantile(latencies, [0.5, 0.95]) if len(latencies) else (np.nan, np.nan)
    answers = int(sample.denominators["degradation"][rows].sum())
    return ArmFigures(
        arm.name, float(arm.share), int(rows.sum()), answers, values, float(p50), float(p95), sample.versions[place]
    )
