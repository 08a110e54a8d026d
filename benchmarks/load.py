"""Overload of the running suite: an open loop at multiples of saturation, recovery after it, and short deadlines.

    python -m benchmarks.load --out load.json --html load.html

Starts the suite under Ray Serve with the demo shop, or measures the gateway at `--target`, which serves the demo shop
already and needs neither TLS nor an API key. The traffic replays the demo's shoppers (benchmarks/load_traffic.py has
the shares). The client is one process of lower priority, whose lag and CPU are in the report; it shares the cores with
the suite.

1. **Saturation**: the highest rate of whole answers of a closed loop with 1 to 32 calls in flight, each with the
   deadline. It is measured again in each round, as the reference of that round.
2. **Multiples of it**, open loop: calls come at the times of a seeded Poisson process, and latency counts from the time
   at which a call was due.
3. **Recovery**: five times saturation, then half of it; the share of whole answers in each 100 ms after the fall.
4. **Short deadlines** with one call in flight, of the kinds of calls that have a fallback for every stage.

A finished phase is written at once, and the same command continues from it. The table says for each goal whether it
holds, by the median of the rounds. The defaults take six minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from benchmarks.load_client import client_process
from benchmarks.load_goals import Report
from benchmarks.load_phases import Bench, plan
from benchmarks.load_report import print_report, write_html
from benchmarks.load_suite import shop_suite
from benchmarks.load_traffic import KINDS, Traffic
from benchmarks.results import Results


def measure(arguments: argparse.Namespace, results: Results) -> None:
    """Measures the phases that `results` lacks."""
    phases = list(plan(arguments.seconds, arguments.multiples, arguments.deadlines, arguments.rounds))
    if all(phase.name in results.parts for phase in phases):
        return
    kinds = [kind for kind in KINDS if kind.name in arguments.kinds]
    shop = shop_suite(arguments.target, arguments.size, arguments.data)
    with shop as (suite, visits), client_process() as client:
        bench = Bench(suite, visits, Traffic(visits, kinds), client, arguments.deadline_ms / 1e3, arguments.seed)
        bench.warm_up()
        for phase in tqdm(phases, desc="phases"):
            results.part(phase.name, lambda phase=phase: bench.measure(phase, results.parts))  # type: ignore[misc]


def main() -> None:
    names = [kind.name for kind in KINDS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("load.json"))
    parser.add_argument("--html", type=Path, help="a report with plots")
    parser.add_argument("--target", default="", help="host:port of a gateway; default: start the suite")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each open loop; closed loops take half of it")
    parser.add_argument("--deadline-ms", type=float, default=150.0)
    parser.add_argument("--multiples", type=float, nargs="+", default=[0.5, 1, 1.5, 2, 5, 10], help="of saturation")
    parser.add_argument("--deadlines", type=float, nargs="*", default=[20, 30, 50, 80], help="in ms, one in flight")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, help="of calls; default: a shop's mix")
    parser.add_argument(
        "--data", type=Path, help="a folder: searches of its shop instead; products.csv.gz, judgements.csv.gz"
    )
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.data:
        arguments.kinds = ["search"]
    kept: dict[str, Any] = {key: value for key, value in vars(arguments).items() if key not in ("out", "html")}
    kept["data"] = str(arguments.data or "")
    results = Results(arguments.out, kept)
    measure(arguments, results)
    report = Report(results.parts, tuple(arguments.multiples), tuple(arguments.deadlines), arguments.rounds)
    print_report(Console(), report)
    if arguments.html:
        write_html(arguments.html, report, kept)
        print(f"report: {arguments.html}")
    raise SystemExit(not all(goal.holds for goal in report.goals()))


if __name__ == "__main__":
    main()
