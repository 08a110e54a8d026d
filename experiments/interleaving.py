"""The verdict of an interleaving: which arm's products the units act on, with an interval that holds at any time.

A page is won by the arm of whose products the unit acted on more, and undecided if neither is ahead. Units come back:
the pages of one are not independent, so that the analysis takes one value a unit (the delta method over units).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from experiments.analysis import UNDECIDED, WORSE, Analysis, ArmFigures, Comparison, Look
from experiments.outcomes import Floats, Ints, latest_before, units_of
from experiments.sequential import LEAST_UNITS, Difference, linearised
from experiments.table import CART, CLICK, NOBODY, PURCHASE, Column, LogTable
from services.common.experiment import CREDITS, INTERLEAVED, METRICS, Experiment, Metric

_KINDS: Mapping[Metric, int] = {"click_through": CLICK, "add_to_cart": CART, "conversion": PURCHASE}
# Times at which the running experiment is looked at for its plot.
_LOOKS = 28


class Credits:
    """What the units of one interleaving did with the products of each arm.

    `pages`: those that were interleaved; `plain`: the others of the experiment, which no arm wins.
    """

    def units_until(self, until_s: float) -> int:
        """Units with a page by then."""
        return len(np.unique(self._page_unit[self._page_s <= until_s]))

    def __init__(self, table: LogTable, id: str, experiment: Experiment) -> None:
        pages, shown, acts = table.pages(), table.shown(), table.acts()
        is_own = table.arm_of(id, [INTERLEAVED])[pages["arms"]] >= 0 if len(pages["arms"]) else np.zeros(0, bool)
        who = units_of(pages, experiment.unit)
        rows = np.flatnonzero(is_own & (who != NOBODY))
        self.pages = int((pages["interleaved"][rows] > 0).sum())
        self.plain = len(rows) - self.pages
        units, page_unit = np.unique(who[rows], return_inverse=True)
        self.count, self._page_unit, self._page_s = len(units), page_unit, pages["at_s"][rows]
        self.latencies = pages["latency_ms"][rows].astype(np.float64)
        versions = np.bincount(pages["version"][rows][pages["version"][rows] >= 0], minlength=len(table.versions))
        self.versions = {name: int(n) for name, n in zip(table.versions, versions, strict=True) if n}
        place = np.full(1 + int(max(shown["page"].max(initial=-1), rows.max(initial=-1))), -1, np.int64)
        place[rows] = np.arange(len(rows))
        seen = np.flatnonzero(place[shown["page"]] >= 0) if len(shown["page"]) else np.zeros(0, np.int64)
        of_page, item = place[shown["page"][seen]], shown["item"][seen]
        # +1: the other arm brought the product; -1: the control arm; 0: it counts for neither.
        signs = np.array([_sign(name, experiment) for name in table.teams] + [0], np.int64)
        side = signs[shown["team"][seen]]
        self._kind, self._act_s, self._act_page, self._side = self._credits(
            acts, units_of(acts, experiment.unit), units, of_page, item, side
        )

    def _credits(
        self, acts: Mapping[str, Column], who: Ints, units: Column, of_page: Column, item: Column, side: Column
    ) -> tuple[Column, Column, Column, Column]:
        """(kind, time, page, side) of each act that gives credit: on the last page that showed the product to the unit,
        once for each kind, page and product.
        """
        at = np.minimum(np.searchsorted(units, who), max(len(units) - 1, 0))
        kept = np.flatnonzero(units[at] == who) if len(units) else np.zeros(0, np.int64)
        kept = kept[np.argsort(acts["at_s"][kept], kind="stable")]
        items = 1 + int(max(acts["item"].max(initial=0), item.max(initial=0)))
        found = latest_before(
            at[kept] * items + acts["item"][kept], acts["at_s"][kept],
            self._page_unit[of_page] * items + item, self._page_s[of_page],
        )  # fmt: skip
        kept, found = kept[found >= 0], found[found >= 0]
        counts = (side[found] != 0) & np.isin(acts["kind"][kept], list(_KINDS.values()))
        kept, found = kept[counts], found[counts]
        _, first = np.unique(found * 8 + acts["kind"][kept], return_index=True)
        kept, found = kept[first], found[first]
        return acts["kind"][kept], acts["at_s"][kept], of_page[found], side[found]

    @property
    def times_s(self) -> tuple[float, float]:
        """The first page and the last thing that is known; both 0 without pages."""
        if not len(self._page_s):
            return 0.0, 0.0
        return float(self._page_s.min()), float(max(self._page_s.max(), self._act_s.max(initial=0.0)))

    def won(self, metric: Metric, until_s: float = np.inf) -> tuple[Floats, Floats]:
        """By unit, the pages that the other arm won less those that the control arm won, and the sum of both."""
        rows = (self._kind == _KINDS[metric]) & (self._act_s <= until_s)
        balance = np.sign(np.bincount(self._act_page[rows], self._side[rows], len(self._page_s)))
        return (
            np.bincount(self._page_unit, balance, self.count).astype(np.float64),
            np.bincount(self._page_unit, np.abs(balance), self.count).astype(np.float64),
        )


def preference(balance: Floats, decided: Floats) -> Difference | None:
    """The difference of the arms' shares of the decided pages, from -1 to 1. None with too few units."""
    known = decided > 0
    if (count := int(known.sum())) < LEAST_UNITS:
        return None
    values = linearised(balance[known], decided[known])
    value = float(values.mean())
    # If all are alike, as if one of them had been won by the other arm.
    variance = max(float(values.var(ddof=1)), 4 / count)
    return Difference(value, math.sqrt(variance / count), count)


def analysed_interleaving(table: LogTable, id: str, experiment: Experiment, until_s: float = np.inf) -> Analysis:
    """Of what is known up to `until_s` (seconds since the epoch)."""
    credits_ = Credits(table, id, experiment)
    first_s, last_s = credits_.times_s
    last_s = min(last_s, until_s, experiment.ends_at.timestamp() if experiment.ends_at else np.inf)
    other, alpha = experiment.other.name, experiment.significance
    found = {metric: compared(credits_, experiment, metric, alpha, last_s) for metric in CREDITS}
    notes = []
    if credits_.plain:
        notes.append(
            f"{credits_.plain} answers were not interleaved: browsed or sorted ones, or the second order was late"
        )
    primary = found[experiment.primary_metric]
    if primary is None:
        notes.append(f"fewer than {LEAST_UNITS} units with a page that one arm won: nothing is concluded yet")
    return Analysis(
        id, experiment.primary_metric, experiment.control.name, first_s, last_s,
        [_figures(credits_, arm.name, sign, last_s) for arm, sign in ((experiment.control, -1), (experiment.other, 1))],
        [one for one in found.values() if one is not None],
        {other: UNDECIDED if primary is None else primary.judgement()}, _broken(credits_, experiment, last_s), 1.0, [],
        notes, _looks(credits_, experiment, first_s, last_s), "", mode="interleaving",
    )  # fmt: skip


def compared(
    credits_: Credits, experiment: Experiment, metric: Metric, alpha: float, until_s: float
) -> Comparison | None:
    """None while too little is known."""
    difference = preference(*credits_.won(metric, until_s))
    if difference is None:
        return None
    low, high = difference.interval(experiment.planned_units, alpha)
    p_value = difference.p_value(experiment.planned_units, alpha)
    return Comparison(experiment.other.name, metric, difference.value, low, high, math.nan, p_value, 1.0)


def _sign(arm: str, experiment: Experiment) -> int:
    return 1 if arm == experiment.other.name else -1 if arm == experiment.control.name else 0


def _figures(credits_: Credits, arm: str, sign: int, until_s: float) -> ArmFigures:
    """Values: the share of the decided pages that the arm won."""
    values = dict.fromkeys(METRICS, math.nan)
    for metric in CREDITS:
        balance, decided = (float(of.sum()) for of in credits_.won(metric, until_s))
        values[metric] = (1 + sign * balance / decided) / 2 if decided else math.nan
    known = credits_.latencies[~np.isnan(credits_.latencies)]
    p50, p95 = np.quantile(known, [0.5, 0.95]) if len(known) else (math.nan, math.nan)
    return ArmFigures(
        arm, 1.0, credits_.count, credits_.pages, values, float(p50), float(p95), credits_.versions
    )  # fmt: skip


def _broken(credits_: Credits, experiment: Experiment, until_s: float) -> list[str]:
    """All guardrails together are wrong with at most the probability `significance`."""
    found = []
    for guard in experiment.guards:
        one = compared(credits_, experiment, guard.metric, experiment.significance / len(experiment.guards), until_s)
        if one is not None and one.judgement(guard.maximum_harm) == WORSE:
            found.append(
                f"{guard.metric} of {one.arm} is worse than of {experiment.control.name}: its share of the won answers "
                f"differs by {one.low:+.1%} to {one.high:+.1%}, allowed {-guard.maximum_harm:.1%}"
            )
    return found


def _looks(credits_: Credits, experiment: Experiment, first_s: float, last_s: float) -> list[Look]:
    looks = list[Look]()
    for at_s in np.linspace(first_s, last_s, _LOOKS + 1)[1:] if last_s > first_s else ():
        one = compared(credits_, experiment, experiment.primary_metric, experiment.significance, float(at_s))
        intervals = {} if one is None else {one.arm: (one.difference, one.low, one.high)}
        looks.append(Look(float(at_s), credits_.units_until(float(at_s)), intervals))
    return looks
