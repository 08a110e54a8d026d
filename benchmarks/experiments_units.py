"""Simulated units of A/B tests: they arrive over the days, differ in activity and taste, come back and go on buying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.outcomes import Sample
from services.common.experiment import METRICS, Metric

Floats = npt.NDArray[np.float64]
# Purchases follow a click with this probability; what they cost is log-normal.
_BUYS, _SPENT, _SPREAD = 0.15, 3.0, 1.0
_HISTORY_DAYS = 14


@dataclass(frozen=True)
class Units:
    """Of one test: cumulated by day, [days, units]. `arrival` [units]: the day of the first exposure."""

    arm: npt.NDArray[np.int64]
    arrival: npt.NDArray[np.int64]
    answers: Floats
    clicked: Floats
    bought: Floats
    spent: Floats
    before: Floats

    def at(self, day: int) -> Sample:
        """What is known at the end of the day, as the analysis of the log has it."""
        rows = np.flatnonzero(self.arrival <= day)
        ones, zeros = np.ones(len(rows)), np.zeros(len(rows))
        answers = self.answers[day, rows]
        numerators: dict[Metric, Floats] = dict.fromkeys(METRICS, zeros) | {
            "click_through": self.clicked[day, rows],
            "conversion": np.sign(self.bought[day, rows]),
            "revenue": self.spent[day, rows],
        }
        denominators: dict[Metric, Floats] = dict.fromkeys(METRICS, ones) | {"click_through": answers}
        return Sample(self.arm[rows], numerators, denominators, self.before[rows], [np.zeros(0)] * 2, [{}, {}])


def simulated(random: np.random.Generator, count: int, days: int, lift: float = 0.0, lost: float = 0.0) -> Units:
    """`lift`: by how much arm 1 clicks more, as a share; `lost`: of its units, how many the log does not have."""
    arm = random.integers(0, 2, count)
    kept = (arm == 0) | (random.random(count) >= lost)
    arm, count = arm[kept], int(kept.sum())
    arrival = np.minimum(random.exponential(days / 3, count).astype(np.int64), days - 1)
    # Answers a day, and the chance of a click: both vary between units for good.
    activity, taste = 0.6 * random.gamma(0.7, size=count), random.beta(1.5, 6.0, count)
    day = np.arange(days)[:, np.newaxis]
    answers = random.poisson(activity, (days, count)) * (day >= arrival) + (day == arrival)
    clicked = random.binomial(answers, np.minimum(taste * (1 + lift * arm), 1.0))
    bought = random.binomial(clicked, _BUYS)
    each = np.exp(random.normal(_SPENT, _SPREAD, (days, count)))
    history = random.poisson(activity * _HISTORY_DAYS)
    earlier = random.binomial(history, taste)
    purchases = random.binomial(earlier, _BUYS)
    known = [np.log1p(earlier), np.log1p(purchases), purchases * np.exp(_SPENT), np.sign(earlier)]
    answers, clicked, bought, spent = (
        np.cumsum(of, axis=0, dtype=np.float64) for of in (answers, clicked, bought, bought * each)
    )
    return Units(arm, arrival, answers, clicked, bought, spent, np.stack(known, axis=1).astype(np.float64))
