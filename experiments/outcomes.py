"""What the units of one experiment did, as numerators and denominators of each metric, at any time of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.table import CART, CLICK, FEEDBACK, NOBODY, PURCHASE, REFUND, Column, LogTable
from services.common.experiment import METRICS, Experiment, Metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# "latency" counts answers that are slower than this quantile of the control arm.
_SLOW = 0.95


@dataclass(frozen=True)
class Sample:
    """Rows are the units that were exposed so far; a metric is the sum of its numerators by that of its denominators.

    `arm`: the place of each unit's arm in the experiment. `before` [units, covariates]: what is known of the time
    before the first exposure. `latencies`: of the answers, by arm, in milliseconds. `versions`: how many answers each
    model version made, by arm.
    """

    arm: Ints
    numerators: Mapping[Metric, Floats]
    denominators: Mapping[Metric, Floats]
    before: Floats
    latencies: list[Floats]
    versions: list[dict[str, int]]


class Outcomes:
    """`moved`: units that were seen in two arms; they count in the first one. `unpriced`: purchases without a price
    that is known, and purchases in another currency than `currency`, the most frequent one: they count as purchases
    without revenue.
    """

    def __init__(self, table: LogTable, id: str, experiment: Experiment) -> None:
        self._names = [arm.name for arm in experiment.arms]
        self._control = self._names.index(experiment.control.name)
        pages, acts = table.pages(), table.acts()
        arm_of_page = table.arm_of(id, self._names)
        arm = arm_of_page[pages["arms"]] if len(pages["arms"]) else np.zeros(0, np.int64)
        who = units_of(pages, experiment.unit)
        rows = np.flatnonzero((arm >= 0) & (who != NOBODY))
        rows = rows[np.argsort(pages["at_s"][rows], kind="stable")]
        units, first = np.unique(who[rows], return_index=True)
        self.count, self._first_s = len(units), pages["at_s"][rows][first]
        self._arm: Ints = arm[rows][first]
        page_unit = np.searchsorted(units, who[rows])
        stays = arm[rows] == self._arm[page_unit]
        self.moved = len(np.unique(page_unit[~stays]))
        rows, page_unit = rows[stays], page_unit[stays]
        self._page_unit, self._page_s = page_unit, pages["at_s"][rows]
        self._latency, self._degraded = pages["latency_ms"][rows].astype(np.float64), pages["degraded"][rows] > 0
        self._version, self._version_names = pages["version"][rows], table.versions
        self._read_acts(table, acts, experiment.unit, units, rows, page_unit)

    def _read_acts(
        self, table: LogTable, acts: Mapping[str, Column], unit: str, units: Column, rows: Column, page_unit: Column
    ) -> None:
        shown, items = table.shown(), 1 + max((int(of.max(initial=0)) for of in (acts["item"],)), default=0)
        items = max(items, 1 + int(shown["item"].max(initial=0)))
        place = np.full(1 + max(int(shown["page"].max(initial=-1)), int(rows.max(initial=-1))), -1, np.int64)
        place[rows] = np.arange(len(rows))
        of_shown = place[shown["page"]] if len(shown["page"]) else np.zeros(0, np.int64)
        own = np.flatnonzero(of_shown >= 0)
        shown_page = of_shown[own]
        who = units_of(acts, unit)
        at = np.minimum(np.searchsorted(units, who), max(len(units) - 1, 0))
        kept = np.flatnonzero(units[at] == who) if len(units) else np.zeros(0, np.int64)
        act_unit, kind, act_s = at[kept], acts["kind"][kept], acts["at_s"][kept]
        key = act_unit * items + acts["item"][kept]
        # The latest page of the unit that showed the product.
        seen = latest_before(
            key, act_s, page_unit[shown_page] * items + shown["item"][own], self._page_s[shown_page]
        )  # fmt: skip
        price, currency = acts["price"][kept], acts["currency"][kept]
        unknown = np.isnan(price) & (seen >= 0)
        price = np.where(unknown, shown["price"][own][seen] if len(own) else np.nan, price)
        currency = np.where(unknown, shown["currency"][own][seen] if len(own) else NOBODY, currency)
        buys = kind == PURCHASE
        names = table.currencies
        used = np.bincount(currency[buys & (currency >= 0) & ~np.isnan(price)], minlength=max(len(names), 1))
        self.currency = names[int(used.argmax())] if used.any() else ""
        is_counted = ~np.isnan(price) & (currency == (int(used.argmax()) if used.any() else NOBODY))
        revenue = np.where(buys & is_counted, np.nan_to_num(price) * acts["quantity"][kept], 0.0)
        # A refund undoes pieces of the unit's latest purchase of the product.
        bought, returned = np.flatnonzero(buys), np.flatnonzero(kind == REFUND)
        undone = latest_before(key[returned], act_s[returned], key[bought], act_s[bought])
        returned, bought, quantity = returned[undone >= 0], bought[undone[undone >= 0]], acts["quantity"][kept]
        # A refund of 0 pieces is one of all.
        pieces = np.where(quantity[returned] > 0, np.minimum(quantity[returned], quantity[bought]), quantity[bought])
        revenue[returned] = -revenue[bought] * pieces / quantity[bought]
        after = act_s >= self._first_s[act_unit] if len(units) else np.zeros(0, bool)
        self.unpriced = int((buys & after & ~is_counted).sum())
        satisfaction = np.where(kind == FEEDBACK, acts["satisfaction"][kept], 0.0)
        self._act_unit, self._act_kind, self._act_s = act_unit[after], kind[after], act_s[after]
        self._revenue, self._satisfaction = revenue[after], satisfaction[after]
        self.before = _before(self.count, act_unit[~after], kind[~after], revenue[~after])
        clicks = np.flatnonzero((kind == CLICK) & (seen >= 0) & after)
        # One click of each product of a page: the first.
        clicks = clicks[np.argsort(act_s[clicks], kind="stable")]
        _, once = np.unique(seen[clicks], return_index=True)
        clicks = clicks[np.sort(once)]
        self._click_s, self._click_page = act_s[clicks], shown_page[seen[clicks]] if len(own) else clicks
        self._click_position = shown["position"][own][seen[clicks]] if len(own) else clicks

    @property
    def times_s(self) -> tuple[float, float]:
        """The first exposure and the last thing that is known; both 0 without units."""
        if not self.count:
            return 0.0, 0.0
        return float(self._page_s.min()), float(max(self._page_s.max(), self._act_s.max(initial=0.0)))

    def at(self, until_s: float) -> Sample:
        """What was known at this time."""
        units = np.flatnonzero(self._first_s <= until_s)
        pages, acts, clicks = self._page_s <= until_s, self._act_s <= until_s, self._click_s <= until_s
        unit, n = self._page_unit[pages], self.count
        latency, arm = self._latency[pages], self._arm[unit]
        latencies = [latency[(arm == place) & ~np.isnan(latency)] for place in range(len(self._names))]
        control = latencies[self._control]
        slow_ms = float(np.quantile(control, _SLOW)) if len(control) else np.inf
        timed = ~np.isnan(latency)
        clicked = np.zeros(len(self._page_s), bool)
        clicked[self._click_page[clicks]] = True
        of_click = self._page_unit[self._click_page[clicks]]
        act_unit, kind = self._act_unit[acts], self._act_kind[acts]
        answers, ones = _sums(unit, n), np.ones(n)
        numerators: dict[Metric, Floats] = {
            "click_through": _sums(unit, n, clicked[pages]),
            "add_to_cart": np.sign(_sums(act_unit, n, kind == CART)),
            "conversion": np.sign(_sums(act_unit, n, kind == PURCHASE)),
            "revenue": _sums(act_unit, n, self._revenue[acts]),
            "click_position": _sums(of_click, n, self._click_position[clicks]),
            "satisfaction": _sums(act_unit, n, self._satisfaction[acts]),
            "latency": _sums(unit, n, timed & (latency > slow_ms)),
            "degradation": _sums(unit, n, self._degraded[pages]),
        }
        denominators: dict[Metric, Floats] = {
            "click_through": answers, "add_to_cart": ones, "conversion": ones, "revenue": ones,
            "click_position": _sums(of_click, n), "satisfaction": _sums(act_unit, n, kind == FEEDBACK),
            "latency": _sums(unit, n, timed), "degradation": answers,
        }  # fmt: skip
        version = self._version[pages]
        versions = [
            {
                self._version_names[number]: int(count)
                for number, count in enumerate(np.bincount(version[(arm == place) & (version >= 0)]))
                if count
            }
            for place in range(len(self._names))
        ]
        return Sample(
            self._arm[units], {name: numerators[name][units] for name in METRICS},
            {name: denominators[name][units] for name in METRICS}, self.before[units], latencies, versions,
        )  # fmt: skip


def _sums(units: Column, count: int, weights: Column | None = None) -> Floats:
    """By unit; without weights the number of rows."""
    sums: Floats = np.bincount(units, weights, count).astype(np.float64)
    return sums


def units_of(columns: Mapping[str, Column], unit: str) -> Ints:
    """A number of each row's unit, as `services.common.experiment.unit_of` names it; NOBODY: it has none."""
    user, visitor = columns["user"].astype(np.int64), columns["visitor"].astype(np.int64)
    found = np.full(len(user), NOBODY, np.int64)
    if unit != "EXPERIMENT_UNIT_USER":
        found = np.where(visitor >= 0, 2 * visitor + 1, found)
    if unit != "EXPERIMENT_UNIT_VISITOR":
        found = np.where(user >= 0, 2 * user, found)
    return found


def _before(count: int, unit: Column, kind: Column, revenue: Floats) -> Floats:
    """[units, 4]: logarithms of clicks and purchases, revenue, and whether there is anything."""
    clicks, purchases = (np.bincount(unit[kind == one], minlength=count) for one in (CLICK, PURCHASE))
    spent, any_act = np.bincount(unit, revenue, count), np.bincount(unit, minlength=count) > 0
    return np.stack([np.log1p(clicks), np.log1p(purchases), spent, any_act.astype(np.float64)], axis=1)


def latest_before(keys: Column, at_s: Column, other_keys: Column, other_s: Column) -> Ints:
    """For each row of the first two: the latest row of the others with the same key, not later than it; -1: none."""
    count = len(other_keys)
    all_keys, times = np.concatenate([other_keys, keys]), np.concatenate([other_s, at_s])
    is_asked = np.arange(len(all_keys)) >= count
    order = np.lexsort((is_asked, times, all_keys))
    last = np.maximum.accumulate(np.where(is_asked[order], -1, np.arange(len(order))))
    found = order[np.maximum(last, 0)] if len(order) else order
    matches = (last >= 0) & (all_keys[found] == all_keys[order])
    answer = np.full(len(all_keys), -1, np.int64)
    answer[order] = np.where(matches & ~is_asked[found], found, -1)
    return answer[count:]
