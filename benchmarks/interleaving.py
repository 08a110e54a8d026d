"""Interleaving against an A/B test: how many answers each needs to find a known small difference, at equal error.

    python -m benchmarks.interleaving --out I.json

Both see the same kind of traffic and are analysed as `kairos experiments show` does. They are looked at when the number
of answers has grown by 15 %; a verdict at any look counts. `planned_units` of each is chosen on other seeds, from the
same grid. The A/B test takes out what was known before (CUPED). What an A/B test needs that is looked at once, for a
power of a half, stands beside. `--cost` measures instead what interleaving adds to searches of a suite in this process;
it needs idle cores.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.experiments import cost, rate
from benchmarks.interleaving_shoppers import Floats, clicks, orders, page_balance, traffic
from experiments.interleaving import preference
from experiments.sequential import LEAST_UNITS, Difference, adjusted, difference_of, linearised
from kairos.control.v1 import control_pb2

_LEVEL = 0.05
_GRID = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_FIRST_LOOK, _GROWTH = 300, 1.15
# Pages that are simulated at once.
_CHUNK = 20_000


def looks(most: int) -> list[int]:
    """Numbers of answers."""
    count = int(math.log(most / _FIRST_LOOK) / math.log(_GROWTH)) + 1
    return [*(int(_FIRST_LOOK * _GROWTH**place) for place in range(count)), most]


def interleaved(seed: int, most: int, better: float) -> Iterator[tuple[int, Difference | None]]:
    """(answers, what is known) at each look."""
    random = np.random.default_rng([1, seed])
    visits, balance = traffic(random, most), np.zeros(0)
    for count in looks(most):
        while len(balance) < min(count, len(visits.unit)):
            rows = visits.unit[len(balance) : len(balance) + min(_CHUNK, max(_FIRST_LOOK, len(balance) // 4))]
            found = page_balance(random, *orders(random, len(rows), better), visits.willing[rows])
            balance = np.concatenate([balance, found])
        unit, units = visits.unit[:count], len(visits.willing)
        won, decided = (np.bincount(unit, of[:count], units).astype(np.float64) for of in (balance, np.abs(balance)))
        yield count, preference(won, decided)


def a_b_test(seed: int, most: int, better: float) -> Iterator[tuple[int, Difference | None]]:
    """As `interleaved`: the share of answers with a click."""
    random = np.random.default_rng([2, seed])
    visits, clicked = traffic(random, most), np.zeros(0)
    before = np.stack([np.log1p(visits.earlier[:, 0]), np.log1p(visits.earlier[:, 1])], axis=1)
    for count in looks(most):
        while len(clicked) < min(count, len(visits.unit)):
            rows = visits.unit[len(clicked) : len(clicked) + _CHUNK]
            relevance, first, second = orders(random, len(rows), better)
            shown = np.where(visits.arm[rows, np.newaxis] == 1, second, first)
            clicked = np.concatenate([clicked, clicks(random, relevance, shown, visits.willing[rows]).any(axis=1)])
        unit, units = visits.unit[:count], len(visits.willing)
        answers = np.bincount(unit, minlength=units)
        values, known = list[Floats](), list[Floats]()
        for arm in (0, 1):
            own = (visits.arm == arm) & (answers > 0)
            with_click = np.bincount(unit, clicked[:count], units)[own]
            values.append(linearised(with_click, answers[own].astype(np.float64)))
            known.append(before[own])
        few = min(map(len, values)) < LEAST_UNITS
        yield count, None if few else difference_of(*adjusted(values, known))


_METHODS = {"interleaving": interleaved, "A/B test": a_b_test}


def _one(task: tuple[str, int, int, float, tuple[int, ...]]) -> dict[int, tuple[int, int] | None]:
    """By `planned_units`: (answers at the first verdict, 1 if it is right, else -1); None: there was none."""
    method, seed, most, better, grid = task
    found: dict[int, tuple[int, int] | None] = dict.fromkeys(grid)
    for count, difference in _METHODS[method](seed, most, better):
        for planned in grid:
            if found[planned] is None and difference is not None and difference.standard_error:
                low, high = difference.interval(planned, _LEVEL)
                if low > 0 or high < 0:
                    found[planned] = count, 1 if low > 0 else -1
        if all(found.values()):
            break
    return found


def _fixed(seed: int, most: int, better: float, true: float) -> float:
    """Answers that a fixed-horizon A/B test needs for a power of a half, by its own standard error at `most`."""
    *_, (count, difference) = a_b_test(seed, most, better)
    assert difference is not None
    return float(count * (stats.norm.ppf(1 - _LEVEL / 2) * difference.standard_error / true) ** 2)


def power(pool: ProcessPoolExecutor, seeds: Sequence[int], tests: int, most: dict[str, int], better: float) -> Any:
    report: dict[str, Any] = {}
    needed: dict[str, list[Floats]] = {}
    for method in _METHODS:
        tuning = [(method, 900_000 + n, most[method], better, _GRID) for n in range(max(tests // 2, 10))]
        tuned = list(pool.map(_one, tuning))
        planned = min(_GRID, key=lambda one: float(np.median([_answers(each[one]) for each in tuned])))
        found = [
            list(pool.map(_one, [(method, 1_000 * seed + n, most[method], better, (planned,)) for n in range(tests)]))
            for seed in seeds
        ]
        needed[method] = [np.array([_answers(each[planned]) for each in of]) for of in found]
        every = [each[planned] for of in found for each in of]
        report[method] = {
            "planned_units": planned, "most_answers": most[method],
            "median_answers": float(np.median(np.concatenate(needed[method]))),
            "interval": _interval(lambda random, of=needed[method]: _median(random, of)),
            "by_seed": [float(np.median(of)) for of in needed[method]],
            "called": sum(each is not None for each in every) / len(every),
            "wrong": sum(each is not None and each[1] < 0 for each in every),
        }  # fmt: skip
    report["share"] = report["interleaving"]["median_answers"] / report["A/B test"]["median_answers"]
    report["share_interval"] = _interval(
        lambda random: _median(random, needed["interleaving"]) / _median(random, needed["A/B test"])
    )
    return report


def _answers(found: tuple[int, int] | None) -> float:
    return math.inf if found is None or found[1] < 0 else float(found[0])


def _median(random: np.random.Generator, of: Sequence[Floats]) -> float:
    """Of tests that are drawn again within each seed."""
    return float(np.median(np.concatenate([random.choice(each, len(each)) for each in of])))


def _interval(draw: Any) -> list[float]:
    """95 %, by the bootstrap over tests."""
    random = np.random.default_rng(0)
    return [float(bound) for bound in np.quantile([draw(random) for _ in range(2_000)], [0.025, 0.975])]


def lift(better: float, pages: int = 100_000) -> tuple[float, float]:
    """(the share of answers with a click of the first ranking, how much higher that of the second is, as a share)."""
    random, totals = np.random.default_rng(7), np.zeros(2)
    for _ in range(pages // _CHUNK):
        relevance, *both = orders(random, _CHUNK, better)
        willing = random.normal(size=_CHUNK)
        state = random.bit_generator.state
        for place, order in enumerate(both):
            random.bit_generator.state = state
            totals[place] += clicks(random, relevance, order, willing).any(axis=1).sum()
    return float(totals[0] / pages), float(totals[1] / totals[0] - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tests", type=int, default=40, help="tests with a difference, of each method and seed")
    parser.add_argument("--equal-tests", type=int, default=1_000, help="interleavings of two equally good rankings")
    parser.add_argument("--better", type=float, default=0.15, help="noise that the better ranking lacks, as a share")
    parser.add_argument("--most", type=int, default=1_000_000, help="answers after which an A/B test is given up")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cost", action="store_true", help="measure what interleaving adds to a search")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    report: dict[str, Any]
    if options.cost:
        report = cost(300, 100, 10, [_interleaving()])
        low, high = report["added_interval_ms"]
        print(f"added to a search, p50: {report['added_p50_ms']:.3f} ms [{low:.3f}, {high:.3f}]")
        if options.out:
            options.out.write_text(json.dumps(report, indent=1))
        return
    clicked, more = lift(options.better)
    report = {"better": options.better, "click_through": clicked, "lift": more}
    most = {"interleaving": options.most // 5, "A/B test": options.most}
    with ProcessPoolExecutor(options.workers) as pool:
        report["power"] = power(pool, options.seeds, options.tests, most, options.better)
        planned = report["power"]["interleaving"]["planned_units"]
        equal = pool.map(
            _one, [("interleaving", n, 5_000, 0.0, (planned,)) for n in range(options.equal_tests)], chunksize=8
        )
        calls = [None if (called := one[planned]) is None else called[0] for one in equal]
        report["equally good"] = {"tests": len(calls), "answers": 5_000, **rate(calls)}
    report["fixed horizon"] = _fixed(5, min(options.most, 100_000), options.better, clicked * more)
    _print(report)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


def _interleaving() -> control_pb2.Experiment:
    """Of all visitors. The ranker answers an unknown version with the current one."""
    arms = [control_pb2.ExperimentArm(name=name, ranking_version=version) for name, version in (("a", ""), ("b", "x"))]
    unit = control_pb2.EXPERIMENT_UNIT_VISITOR
    return control_pb2.Experiment(mode=control_pb2.EXPERIMENT_MODE_INTERLEAVING, unit=unit, arms=arms)


def _print(report: dict[str, Any]) -> None:
    print(f"answers with a click: {report['click_through']:.2%}; the better ranking has {report['lift']:+.2%} of them")
    table = Table("answers to a verdict", "median", "95 % interval", "by seed", "called", "planned units", box=None)
    for method in _METHODS:
        one = report["power"][method]
        low, high = one["interval"]
        table.add_row(
            method, f"{one['median_answers']:,.0f}", f"{low:,.0f} to {high:,.0f}",
            ", ".join(f"{each:,.0f}" for each in one["by_seed"]), f"{one['called']:.0%}, {one['wrong']} wrong",
            f"{one['planned_units']:,}",
        )  # fmt: skip
    Console().print(table)
    print(f"an A/B test that is looked at once: {report['fixed horizon']:,.0f} for a power of a half")
    low, high = report["power"]["share_interval"]
    print(f"interleaving needs {report['power']['share']:.3f} ({low:.3f} to {high:.3f}) of the A/B test's answers")
    equal = report["equally good"]
    print(f"equally good rankings called different: {equal['share']:.3f} (upper bound {equal['upper']:.3f})")


if __name__ == "__main__":
    main()
