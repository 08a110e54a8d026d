"""Autoscaling in a simulated day and flash sale, with measured costs, beside fixed numbers of replicas.

    kubectl kustomize deploy/k8s/overlays/production > production.yaml
    python -m benchmarks.scale --manifests production.yaml --out R.json --plot R.png

In the same run: the suite with the manifests' autoscaling, with a fixed number of replicas equal to the average of
autoscaling, and with one equal to its maximum. The day is compressed to 15 minutes, so its load changes 96 times as
fast as a real one while the delays of autoscaling stay. In the sale the load rises to six times within 30 s.
benchmarks.scale_model describes the simulation.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.manifests import read_objects
from benchmarks.scale_model import POOLS, Scaling, Suite, Window, scalings_of

COSTS = Path(__file__).parent / "data" / "request_costs.json"
_DAY_S, _SALE_S = 900.0, 720.0
_SALE = (180.0, 420.0)
_RAMP_S = 30.0
# A window with a larger share of degraded or refused answers counts as one in which autoscaling was late.
_MANY = 0.01
# Requests that may be under way at the end of a simulation.
_UNDER_WAY = 200


def day(peak: float) -> Callable[[float], float]:
    """Requests per second by time: a fifth of the peak at night, the peak in the evening, a smaller one at noon."""

    def rate(now_s: float) -> float:
        hour = 24 * now_s / _DAY_S
        evening, noon = (math.exp(-(((hour - at) / width) ** 2)) for at, width in ((20.5, 2.5), (12.5, 3.0)))
        return peak * (0.2 + 0.8 * max(evening, 0.6 * noon))

    return rate


def sale(usual: float, times: float) -> Callable[[float], float]:
    """`usual` requests per second, and `times` as many between minutes 3 and 7."""

    def rate(now_s: float) -> float:
        begin, end = _SALE
        share = min(max((now_s - begin) / _RAMP_S, 0.0), 1.0) * min(max((end - now_s) / _RAMP_S, 0.0), 1.0)
        return usual * (1 + (times - 1) * share)

    return rate


def fixed(replicas: dict[str, int], scalings: dict[str, Scaling]) -> dict[str, Scaling]:
    return {
        name: replace(scaling, min_replicas=replicas[name], max_replicas=replicas[name])
        for name, scaling in scalings.items()
    }


def simulate(
    rate: Callable[[float], float],
    duration_s: float,
    costs_ms: dict[str, float],
    scalings: dict[str, Scaling],
    starting_s: float,
) -> tuple[dict[str, Any], Suite]:
    suite = Suite(rate, costs_ms, scalings, starting_s=starting_s)
    suite.run(duration_s)
    latencies = np.array([latency for window in suite.windows for latency in window.latencies_s])
    arrivals, refused = (sum(getattr(window, name) for window in suite.windows) for name in ("arrivals", "refused"))
    if not 0 <= arrivals - refused - len(latencies) <= _UNDER_WAY:
        raise RuntimeError(f"{arrivals} requests, but {refused} refusals and {len(latencies)} answers")
    report = {
        "requests": arrivals,
        "refused": refused / arrivals,
        "degraded": sum(window.degraded for window in suite.windows) / arrivals,
        "p50_ms": float(np.quantile(latencies, 0.5) * 1e3),
        "p99_ms": float(np.quantile(latencies, 0.99) * 1e3),
        "last_degraded_s": max((w.start_s + suite.window_s for w in suite.windows if _is_late(w)), default=0.0),
        "core_hours": sum(suite.core_hours().values()),
        "most_replicas": {name: max(window.replicas[name] for window in suite.windows) for name in POOLS},
    }
    return report, suite


def _is_late(window: Window) -> bool:
    return window.refused + window.degraded > _MANY * window.arrivals


def compare(
    rate: Callable[[float], float],
    duration_s: float,
    costs_ms: dict[str, float],
    scalings: dict[str, Scaling],
    starting_s: float,
) -> tuple[dict[str, dict[str, Any]], Suite]:
    """Reports by policy: autoscaled, a fixed number equal to its average, one equal to its maximum."""
    scaled, suite = simulate(rate, duration_s, costs_ms, scalings, starting_s)
    mean = {name: round(pool.replica_s / duration_s) or 1 for name, pool in suite.pools.items()}
    average, _ = simulate(rate, duration_s, costs_ms, fixed(mean, scalings), starting_s)
    peak, _ = simulate(rate, duration_s, costs_ms, fixed(scaled["most_replicas"], scalings), starting_s)
    return {"autoscaled": scaled, "static, average": average, "static, peak": peak}, suite


def plot(suites: dict[str, Suite], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, len(suites), figsize=(6 * len(suites), 8), sharex="col", squeeze=False)
    for column, (name, suite) in enumerate(suites.items()):
        minutes = [window.start_s / 60 for window in suite.windows[:-1]]
        windows = suite.windows[:-1]
        axes[0][column].plot(minutes, [window.arrivals / 10 for window in windows])
        axes[0][column].set(title=name, ylabel="requests/s")
        for pool in POOLS:
            axes[1][column].step(minutes, [window.replicas[pool] for window in windows], label=pool, where="post")
        axes[1][column].set(ylabel="replicas")
        axes[1][column].legend(fontsize=7)
        shares = [100 * (window.degraded + window.refused) / max(window.arrivals, 1) for window in windows]
        axes[2][column].plot(minutes, shares, color="tab:red")
        axes[2][column].set(ylabel="degraded, %", xlabel="minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifests", type=Path, required=True, help="the YAML of a built overlay")
    parser.add_argument("--costs", type=Path, default=COSTS, help="output of benchmarks.request_costs")
    parser.add_argument("--target", type=float, help="target_ongoing_requests of all stages, instead of the manifests'")
    parser.add_argument(
        "--least", type=int, default=1, help="minimum of replicas of each service, unless manifests say more"
    )
    parser.add_argument(
        "--starting-s", type=float, default=30.0, help="seconds until a new replica, with its pod, serves"
    )
    parser.add_argument("--peak", type=float, default=400.0, help="requests/s at the day's peak")
    parser.add_argument("--usual", type=float, default=80.0, help="requests/s before the sale")
    parser.add_argument("--times", type=float, default=6.0, help="factor of the load in the sale")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    measured = json.loads(arguments.costs.read_text())["suite"]["cpu_ms"]
    costs_ms = {name: float(measured[name]) for name in POOLS}
    scalings = {
        name: replace(
            one,
            target_ongoing_requests=arguments.target or one.target_ongoing_requests,
            min_replicas=max(arguments.least, one.min_replicas),
        )
        for name, one in scalings_of(read_objects(arguments.manifests)).items()
    }
    report, suites = {}, {}
    scenarios = {
        "a day in 15 minutes": (day(arguments.peak), _DAY_S),
        "a flash sale": (sale(arguments.usual, arguments.times), _SALE_S),
    }
    for name, (rate, duration_s) in scenarios.items():
        report[name], suites[name] = compare(rate, duration_s, costs_ms, scalings, arguments.starting_s)
        table = Table(
            "",
            "core-hours",
            "p50 ms",
            "p99 ms",
            "degraded %",
            "refused %",
            "late until s",
            "most replicas",
            title=name,
        )
        for policy, row in report[name].items():
            replicas = " ".join(str(count) for count in row["most_replicas"].values())
            numbers = (
                row["core_hours"],
                row["p50_ms"],
                row["p99_ms"],
                100 * row["degraded"],
                100 * row["refused"],
                row["last_degraded_s"],
            )
            table.add_row(policy, *(f"{number:.2f}" for number in numbers), replicas)
        Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps({"costs_ms": costs_ms, "scenarios": report}, indent=2))
    if arguments.plot:
        plot(suites, arguments.plot)


if __name__ == "__main__":
    main()
