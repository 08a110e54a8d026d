"""The verdict of a switchback of prices: what the other policy earns more for a product, price list and day.

The unit is a block: a product in a price list for some days, whose policy was drawn. What was drawn is all that is
random here: demand may follow any season. Each block's result, less the product's mean of its earlier blocks, is
divided by the probability of its arm, with the sign of the arm. These values have the difference as their mean,
whatever happened in earlier blocks, so that the interval holds at any look (Ham, Bojinov, Lindon and Tingley 2022).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from experiments.analysis import RATIO_ALARM, UNDECIDED, Analysis, ArmFigures, Comparison, Look
from experiments.sequential import LEAST_UNITS, Difference, ratio_p_value
from services.common.experiment import DAY_S, METRICS, OF_PRICES, Experiment, Metric

Floats = npt.NDArray[np.float64]
# Times at which the experiment is looked at for its plot.
_LOOKS = 28
# Blocks before the experiment that say what a product usually brings.
BLOCKS_BEFORE = 4


class Sold(NamedTuple):
    """Of a product in a price list on a day (days since the epoch): pieces that were kept, and what they brought, in
    whole units of `currency`. Empty currency: the price is not known.
    """

    product_id: str
    price_list_id: str
    day: int
    currency: str
    units: float
    revenue: float


@dataclass(frozen=True)
class Priced:
    """`lists`: price lists with a price of their own; in others the product costs what it costs in the default list.
    `cost` of a piece, in `currency`; NaN: it is not known.
    """

    lists: frozenset[str] = frozenset()
    cost: float = math.nan
    currency: str = ""


@dataclass(frozen=True)
class Blocks:
    """Columns of n blocks in the order of time, `number` since the epoch. `is_other`: whether it had the other arm's
    policy. `results` by metric: of a day; `before` by metric and product: of a day in the blocks before the experiment.
    `unknown`: products whose cost is not known; they are not in `profit`. `left_out`: days in another currency.
    """

    product: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    is_other: npt.NDArray[np.bool_]
    results: Mapping[Metric, Floats]
    before: Mapping[Metric, Floats]
    currency: str
    unknown: int
    left_out: int

    def __len__(self) -> int:
        return len(self.number)


def blocks_of(
    sold: Iterable[Sold], products: Mapping[str, Priced], id: str, experiment: Experiment, until_day: int
) -> Blocks:
    """Whole blocks between the start of the experiment, its end and `until_day` (which is not over yet).

    A product counts in the price lists in which it was shown or sold during the experiment, also on days without sales.
    """
    first, last = _span(experiment, until_day)
    rows = [one for one in sold if one.currency and first - BLOCKS_BEFORE <= one.day // experiment.block < last]
    brought = defaultdict[str, float](float)
    for one in rows:
        brought[one.currency] += one.revenue
    currency = max(brought, key=lambda name: brought[name], default="")
    totals = defaultdict[tuple[str, str, int], list[float]](lambda: [0.0, 0.0])
    before = defaultdict[str, list[float]](lambda: [0.0, 0.0])
    sides = set[tuple[str, str]]()
    for one in rows:
        if one.currency != currency or one.product_id not in products:
            continue
        own = one.price_list_id if one.price_list_id in products[one.product_id].lists else ""
        block, total = one.day // experiment.block, before[one.product_id]
        if block >= first:
            sides.add((one.product_id, own))
            if one.day % experiment.block < experiment.carry_over:
                continue
            total = totals[one.product_id, own, block]
        total[0], total[1] = total[0] + one.units, total[1] + one.revenue
    ids = sorted({id for id, _ in sides})
    costs = [_cost(products[product], currency) for product in ids]
    numbers = {product: number for number, product in enumerate(ids)}
    found = list[tuple[float, ...]]()
    for block in range(first, last):
        for product, price_list in sorted(sides):
            if (arm := experiment.price_arm(id, product, price_list, block)) is not None:
                is_other = arm.name == experiment.other.name
                found.append((numbers[product], block, is_other, *totals[product, price_list, block]))
    columns = np.array(found, np.float64).reshape(-1, 5)
    number, units, revenue = columns[:, 0].astype(np.int64), columns[:, 3], columns[:, 4]
    cost, days = np.array(costs, np.float64), experiment.block - experiment.carry_over
    lists = np.bincount([numbers[product] for product, _ in sides], minlength=len(ids))
    earlier = np.array([before[product] for product in ids], np.float64).reshape(-1, 2)
    scale = 1 / np.maximum(lists, 1) / (BLOCKS_BEFORE * experiment.block)
    return Blocks(
        number, columns[:, 1].astype(np.int64), columns[:, 2] > 0,
        {"revenue": revenue / days, "profit": (revenue - cost[number] * units) / days},
        {"revenue": earlier[:, 1] * scale, "profit": (earlier[:, 1] - cost * earlier[:, 0]) * scale},
        currency, int(np.isnan(cost).sum()), sum(one.currency != currency for one in rows),
    )  # fmt: skip


def _cost(product: Priced, currency: str) -> float:
    return product.cost if product.currency == currency else math.nan


def _span(experiment: Experiment, until_day: int) -> tuple[int, int]:
    """(first block, block behind the last)."""
    starts_day = 0.0 if experiment.starts_at is None else experiment.starts_at.timestamp() / DAY_S
    ends_day = math.inf if experiment.ends_at is None else experiment.ends_at.timestamp() / DAY_S
    return math.ceil(starts_day / experiment.block), int(min(until_day, ends_day) // experiment.block)


def difference(blocks: Blocks, metric: Metric, experiment: Experiment, until: float = math.inf) -> Difference | None:
    """Of the two policies' results, in blocks before `until`. None with too few blocks."""
    results = blocks.results[metric]
    rows = np.flatnonzero((blocks.number < until) & ~np.isnan(results))
    is_other = blocks.is_other[rows]
    if min(int(is_other.sum()), int((~is_other).sum())) < LEAST_UNITS // 2:
        return None
    expected = _earlier_means(blocks.product[rows], blocks.number[rows], results[rows], blocks.before[metric])
    whole = float(sum(arm.share for arm in experiment.arms))
    share = float(experiment.other.share) / whole
    values = (results[rows] - expected) * np.where(is_other, 1 / share, -1 / (1 - share))
    value, count = float(values.mean()), len(values)
    # Blocks of a product are independent only without carry-over: the larger of both variances counts.
    apart = values - value
    clusters = np.bincount(blocks.product[rows], apart)
    products = len(set(blocks.product[rows].tolist()))
    grown = products / max(products - 1, 1)
    variance = max(float((apart**2).sum()) * count / (count - 1), float((clusters**2).sum()) * grown)
    return Difference(value, math.sqrt(variance) / count, count)


def _earlier_means(
    product: npt.NDArray[np.int64], number: npt.NDArray[np.int64], results: Floats, before: Floats
) -> Floats:
    """For each block, the mean of its product's results in earlier blocks, of both arms, and in those before the
    experiment, which count as one.
    """
    sums, seen, expected = np.nan_to_num(before), np.ones(len(before)), np.zeros(len(results))
    for block in np.unique(number):
        rows = number == block
        expected[rows] = (sums / seen)[product[rows]]
        sums = sums + np.bincount(product[rows], results[rows], len(before))
        seen = seen + np.bincount(product[rows], minlength=len(before))
    return expected


def analysed_switchback(blocks: Blocks, id: str, experiment: Experiment) -> Analysis:
    """Of `blocks_of`."""
    other, alpha = experiment.other.name, experiment.significance
    found = {metric: _compared(blocks, metric, experiment, alpha) for metric in OF_PRICES}
    primary = found[experiment.primary_metric]
    counts = {arm.name: int((blocks.is_other == (arm.name == other)).sum()) for arm in experiment.arms}
    p_value = ratio_p_value(counts, {arm.name: float(arm.share) for arm in experiment.arms})
    problems, notes = [], []
    if p_value < RATIO_ALARM:
        problems.append(
            f"the arms do not have the blocks that their shares promise (p = {p_value:.2g}): arms, shares or salt were "
            "changed while it ran; begin again under another id"
        )
    if primary is None:
        notes.append(f"fewer than {LEAST_UNITS // 2} whole blocks in an arm: nothing is concluded yet")
    if blocks.unknown:
        notes.append(f"{blocks.unknown} products have no known cost in {blocks.currency}; they are not in the profit")
    if blocks.left_out:
        notes.append(f"{blocks.left_out} days of products are in another currency than {blocks.currency}; left out")
    behind = _behind(blocks)
    first, last = (float(edge) * experiment.block * DAY_S for edge in (blocks.number.min(initial=behind), behind))
    return Analysis(
        id, experiment.primary_metric, experiment.control.name, first, last,
        [_figures(blocks, arm.name, float(arm.share), arm.name == other, experiment) for arm in experiment.arms],
        [one for one in found.values() if one is not None],
        {other: UNDECIDED if primary is None else primary.judgement()}, [], p_value, problems, notes,
        _looks(blocks, experiment), blocks.currency, mode="switchback",
    )  # fmt: skip


def _behind(blocks: Blocks) -> int:
    return int(blocks.number.max(initial=-1)) + 1


def _compared(
    blocks: Blocks, metric: Metric, experiment: Experiment, alpha: float, until: float = math.inf
) -> Comparison | None:
    known = difference(blocks, metric, experiment, until)
    if known is None or not known.standard_error:
        return None
    low, high = known.interval(experiment.planned_units, alpha)
    base = float(np.nanmean(blocks.results[metric][~blocks.is_other]))
    relative = known.value / base if base else math.nan
    p_value = known.p_value(experiment.planned_units, alpha)
    return Comparison(experiment.other.name, metric, known.value, low, high, relative, p_value, 1.0)


def _figures(blocks: Blocks, arm: str, share: float, is_other: bool, experiment: Experiment) -> ArmFigures:
    rows = blocks.is_other == is_other
    values = dict.fromkeys((*METRICS, "profit"), math.nan)
    for metric in OF_PRICES:
        known = blocks.results[metric][rows]
        known = known[~np.isnan(known)]
        values[metric] = float(known.mean()) if len(known) else math.nan
    days = int(rows.sum()) * (experiment.block - experiment.carry_over)
    return ArmFigures(arm, share, int(rows.sum()), days, values, math.nan, math.nan)


def _looks(blocks: Blocks, experiment: Experiment) -> list[Look]:
    numbers: Sequence[int] = np.unique(blocks.number)[-_LOOKS:].tolist()
    looks = list[Look]()
    for number in numbers:
        one = _compared(blocks, experiment.primary_metric, experiment, experiment.significance, number + 1)
        intervals = {} if one is None else {one.arm: (one.difference, one.low, one.high)}
        looks.append(
            Look(float(number + 1) * experiment.block * DAY_S, int((blocks.number <= number).sum()), intervals)
        )
    return looks
