"""What the suite adds to its stages: searches through the gateway against one process that calls the stage handlers.

    python -m benchmarks.overhead --out R.json [--products P.csv.gz --queries J.csv.gz --rounds 5 --seconds 8]

"gateway" is the suite as `kairos up` starts it, called over gRPC by a client process. "one process" runs the handlers
of the query encoder, retrieval, ranker and pricing in turn, without RPC and without the gateway's code, on the messages
that the gateway sends for the same queries: a run before the measurement records them. Both have the same catalogue and
default settings. They take turns, round by round, in closed loops with 1 and with 8 requests in flight; a ratio is the
ratio of medians over the rounds. At half of saturation the arrivals are open loop and evenly spaced.

The queries repeat, so the caches of the stages are off on both sides; `--caches` leaves them on.

P: products (`--map` names the columns); J: a file with a column search_term. Without them: the demo shop, its titles.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks import caches
from benchmarks.overhead_loops import Loop, Recording, record
from demo.catalogue import build_catalogue
from demo.loading import load_products
from ops.client import Connection
from ops.control import start
from ops.in_process import in_process_suite
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from training.search.train import import_products

GOALS = {"p50_at_1": 1.8, "p50_at_8": 1.15, "throughput_at_8": 0.85, "p99_of_p50_at_half": 3.0, "search_cpu_ms": 15.0}
GATEWAY, ONE_PROCESS = "gateway", "one process"
_QUERIES = 400
_IMPORT_S, _GRAPH_S = 60.0, 180.0


@dataclass
class Rounds:
    """The figures of one side with one number in flight, by round: seconds, and searches a second."""

    p50_s: list[float] = field(default_factory=list)
    p99_s: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)

    def add(self, latencies_s: Sequence[float], took_s: float) -> None:
        ordered = sorted(latencies_s)
        self.p50_s.append(statistics.median(ordered))
        self.p99_s.append(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))])
        self.per_second.append(len(ordered) / took_s)

    def medians(self) -> dict[str, float]:
        return {
            "p50_ms": round(1e3 * statistics.median(self.p50_s), 2),
            "p99_ms": round(1e3 * statistics.median(self.p99_s), 2),
            "per_second": round(statistics.median(self.per_second), 1),
        }


def load(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Imports the catalogue into `folder`; returns the queries."""
    with in_process_suite(folder) as suite:
        if arguments.products is None:
            catalogue = build_catalogue(size=arguments.size)
            load_products(Connection(suite.gateway_target, timeout_s=_IMPORT_S), folder, catalogue)
            return [" ".join(product.title.split()[:4]) for product in catalogue]
        import_products(suite, arguments.products, arguments.map, folder)
        _wait_for_graph(folder / "retrieval")
    with gzip.open(arguments.queries, "rt") as file:
        return sorted({row["search_term"][:512] for row in csv.DictReader(file)})


def _wait_for_graph(folder: Path) -> None:
    """Until the vector graph is built: a new generation of the collection takes the place of the imported one."""
    tqdm.write("Waiting for the vector graph")
    (imported,) = folder.glob("default/generation-*")
    until_s = time.monotonic() + _GRAPH_S
    while imported.exists():
        if time.monotonic() > until_s:
            raise SystemExit(
                f"{folder} was not optimised within {_GRAPH_S:.0f} s; import at least optimize_after products"
            )
        time.sleep(0.5)


def measure(folder: Path, recording: Recording, arguments: argparse.Namespace) -> dict[str, Any]:
    """`folder` has the state of all services. The one process works on a copy: an engine's files have one process."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    supervisor, state = start(SuiteSettings.on_free_ports(folder))
    rounds: dict[tuple[str, int], Rounds] = defaultdict(Rounds)
    cpu_ms: dict[str, float] = defaultdict(float)
    degradations, searches = 0, 0
    try:
        with Loop.of_gateway(state.gateway, recording) as gateway, Loop.of_handlers(copy, recording) as handlers:
            for loop in (gateway, handlers):
                loop.run(8, arguments.warm_up)
            turns = [(in_flight, number) for number in range(arguments.rounds) for in_flight in (1, 8)]
            for in_flight, _ in tqdm(turns, desc="Rounds", unit=" rounds"):
                for name, loop in ((GATEWAY, gateway), (ONE_PROCESS, handlers)):
                    before = _cpu_seconds(folder)
                    result = loop.run(in_flight, arguments.seconds)
                    rounds[name, in_flight].add(result.latencies_s, result.took_s)
                    if name == GATEWAY and in_flight == 8:
                        for process, cpu_s in _cpu_seconds(folder).items():
                            cpu_ms[process] += 1e3 * (cpu_s - before.get(process, 0.0))
                        searches += len(result.latencies_s)
                    degradations += result.degraded
            half = statistics.median(rounds[GATEWAY, 8].per_second) / 2
            steady = Rounds()
            for _ in tqdm(range(arguments.rounds), desc="Half of saturation", unit=" rounds"):
                result = gateway.run_at(half, arguments.seconds)
                steady.add(result.latencies_s, result.took_s)
    finally:
        supervisor.terminate()
        supervisor.wait()
    figures = {f"{name}, {in_flight} in flight": found.medians() for (name, in_flight), found in rounds.items()}
    figures[f"{GATEWAY}, half of saturation"] = steady.medians()
    return {
        "figures": figures, "degraded": degradations,
        "cpu_ms": {process: round(ms / searches, 2) for process, ms in sorted(cpu_ms.items(), key=lambda i: -i[1])},
        "ratios": ratios(figures) | {"search_cpu_ms": round(sum(cpu_ms.values()) / searches, 2)},
        "by_round": {f"{name}, {in_flight}": vars(found) for (name, in_flight), found in rounds.items()},
    }  # fmt: skip


def ratios(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    at = {
        in_flight: [figures[f"{name}, {in_flight} in flight"] for name in (GATEWAY, ONE_PROCESS)]
        for in_flight in (1, 8)
    }
    steady = figures[f"{GATEWAY}, half of saturation"]
    return {
        "p50_at_1": round(at[1][0]["p50_ms"] / at[1][1]["p50_ms"], 3),
        "p50_at_8": round(at[8][0]["p50_ms"] / at[8][1]["p50_ms"], 3),
        "throughput_at_8": round(at[8][0]["per_second"] / at[8][1]["per_second"], 3),
        "p99_of_p50_at_half": round(steady["p99_ms"] / steady["p50_ms"], 2),
    }


def _cpu_seconds(data_dir: Path) -> dict[str, float]:
    """CPU seconds by the name of the process."""
    seconds = defaultdict[str, float](float)
    for process in suite_processes(data_dir):
        seconds[process.name] += process.cpu_seconds
    return seconds


def report_table(report: dict[str, Any]) -> Table:
    table = Table(title="Searches: the suite against its stages in one process")
    for heading in ("", "p50 ms", "p99 ms", "per second"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in report["figures"].items():
        table.add_row(name, f"{found['p50_ms']:.1f}", f"{found['p99_ms']:.1f}", f"{found['per_second']:.0f}")
    for name, value in report["ratios"].items():
        table.add_row(f"{name} (goal {GOALS[name]:g})", f"{value:.2f}", "", "")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds of each side")
    parser.add_argument("--state", type=Path, help="folder for the imported catalogue, reused if it exists")
    parser.add_argument("--caches", action="store_true", help="leave the caches of the stages on")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if (arguments.products is None) != (arguments.queries is None):
        parser.error("--products and --queries go together")
    if not arguments.caches:
        caches.switch_off()
    with tempfile.TemporaryDirectory(prefix="kairos-overhead-") as name:
        folder, began = Path(name) / "suite", time.monotonic()
        kept = arguments.state
        if kept is None or not kept.exists():
            folder.mkdir()
            queries = load(arguments, folder)
            if kept is not None:
                shutil.copytree(folder, kept)
                (kept / "queries.json").write_text(json.dumps(queries))
        else:
            shutil.copytree(kept, folder)
            queries = json.loads((folder / "queries.json").read_text())
        chosen = Random(0).sample(queries, min(_QUERIES, len(queries)))
        recording = asyncio.run(record(folder, chosen))
        report = {
            "queries": len(chosen),
            **measure(folder, recording, arguments),
            "took_s": round(time.monotonic() - began),
        }
    Console().print(report_table(report))
    Console().print_json(data=report["cpu_ms"])
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
