"""Answers of the running suite under faults: in time, with the degradation named, and whole again after the fault.

    python -m benchmarks.faults --out faults.json

Starts the suite under Ray Serve with the demo shop, and searches and recommends at a steady rate, open loop. Meanwhile
one fault after the other: each stage slowed, paused, killed, answering garbage, failing half of its calls; the disk
full; a replica more and less, another model, an import; stage calls that wait for the retransmission of a packet. The
gateway reaches the stages through a proxy in this process (benchmarks/faults_proxy.py), which slows, fails and garbles.

For each fault: calls in time, from its begin until four seconds after its end; degradations and errors by name; and the
seconds from its end until the last answer that was not whole. The fault of a killed replica ends when the stage answers
again. A finished fault is written at once, and the same command continues from it. The defaults take seven minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.faults_catalogue import (
    DISK_FULL,
    NOT_EVERYWHERE,
    Fault,
    Place,
    all_faults,
    serve_config,
    small_disk,
)
from benchmarks.faults_proxy import STAGES, stage_proxy
from benchmarks.load_calls import Calls, Offer
from benchmarks.load_client import make_calls
from benchmarks.load_goals import IN_TIME
from benchmarks.load_suite import SHOPPERS, running_suite
from benchmarks.load_summary import BIN_S, summarise, whole_by_bin, whole_share
from benchmarks.load_traffic import WITH_FALLBACKS, Traffic, Visit, demo_visits
from benchmarks.results import Results
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from ops.client import Connection
from ops.settings import SuiteSettings

WHOLE_AGAIN_S = 2.0
_BEFORE_S, _AFTER_S = 1.5, 4.0
_WARM_UP_S = 10.0
# Longer than any fault: the calls end when the fault has been watched.
_SCHEDULE_S = 300.0
_DISK_MB = 768


@contextlib.contextmanager
def place_of_faults(folder: Path, size: int) -> Iterator[tuple[Place, list[Visit]]]:
    """A suite whose gateway reaches the stages through the proxy, and whose state is on a disk that can be filled."""
    catalogue, file = build_catalogue(size=size), folder / "serve.yaml"
    file.write_text(yaml.safe_dump(serve_config().model_dump(exclude_none=True)))
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder, _DISK_MB))
        settings = SuiteSettings.on_free_ports((disk or folder) / "suite", serve_config=file).resolved()
        proxy = stack.enter_context(stage_proxy(f"127.0.0.1:{settings.ingress_grpc_port}"))
        os.environ |= {f"KAIROS_GATEWAY_STAGES__{stage.upper()}__TARGET": proxy.target for stage in STAGES.values()}
        # No call goes past the proxy to a replica.
        os.environ["KAIROS_GATEWAY_REPLICAS_FILE"] = ""
        state = stack.enter_context(running_suite(settings))
        connection = Connection(state.gateway, timeout_s=60.0)
        load_shop(connection, folder, catalogue, SHOPPERS)
        yield Place(settings, connection, proxy, folder, disk), demo_visits(catalogue, SHOPPERS)


def measure(faults: Sequence[Fault], results: Results, arguments: argparse.Namespace) -> None:
    """Measures the faults that `results` lacks."""
    with (
        tempfile.TemporaryDirectory(prefix="kairos-faults-") as folder,
        place_of_faults(Path(folder), arguments.size) as (place, visits),
    ):
        watch = Watch(place, visits, arguments.rate, arguments.deadline_ms / 1e3, arguments.seed)
        watch.warm_up()
        for fault in tqdm(faults, desc="faults"):
            if fault.name != DISK_FULL or place.disk:
                results.part(fault.name, lambda fault=fault: watch.measure(fault))  # type: ignore[misc]


class Watch:
    """Measures faults with calls at a steady rate."""

    def __init__(self, place: Place, visits: list[Visit], rate: float, budget_s: float, seed: int) -> None:
        self._place, self._rate, self._budget_s, self._seed = place, rate, budget_s, seed
        self._traffic = Traffic(visits, WITH_FALLBACKS)

    def warm_up(self) -> None:
        self._observe(Fault("warm up", "", lambda _: contextlib.nullcontext(), _WARM_UP_S))

    def measure(self, fault: Fault) -> dict[str, Any]:
        calls, began_s, ended_s = self._observe(fault)
        kinds = self._traffic.kinds
        figures = summarise(calls.between(began_s, np.inf), kinds, ended_s - began_s + _AFTER_S)
        before = calls.between(0.0, began_s)
        after = calls.between(ended_s, np.inf)
        return figures | {
            "stage": fault.stage, "fault_s": round(ended_s - began_s, 2),
            "before_whole_share": whole_share(whole_by_bin(before, 0.0, _BEFORE_S), 0.0),
            "whole_again_s": whole_again_s(after, ended_s),
            "after_fault": whole_by_bin(after, ended_s, ended_s + _AFTER_S - BIN_S),
        }  # fmt: skip

    def _observe(self, fault: Fault) -> tuple[Calls, float, float]:
        """(calls, begin of the fault, its end), in seconds from the begin of the calls."""
        random = np.random.default_rng([self._seed, *fault.name.encode()])
        due_s = np.cumsum(random.exponential(1 / self._rate, round(self._rate * _SCHEDULE_S)))
        arrivals = self._traffic.arrivals(due_s, Random(f"{self._seed}/{fault.name}"))
        offer, stop = (
            Offer(self._place.connection.target, self._traffic.kinds, arrivals, self._budget_s),
            threading.Event(),
        )
        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(make_calls, offer, stop)
            try:
                time.sleep(_BEFORE_S)
                began_s = time.monotonic()
                with fault.inflict(self._place):
                    time.sleep(fault.lasts_s)
                ended_s = time.monotonic()
                time.sleep(_AFTER_S)
            finally:
                stop.set()
            calls = calling.result()
        return calls, began_s - calls.began_s, ended_s - calls.began_s


def whole_again_s(after: Calls, ended_s: float) -> float:
    """Seconds from the end of the fault until the last call was due that got no whole answer; 0 if there is none."""
    return round(max((call.due_s - ended_s for call in after.ended if not call.whole), default=0.0), 2)


def problems(figures: dict[str, Any]) -> list[str]:
    """What does not hold under a fault."""
    found = []
    if (figures["in_time_share"] or 0.0) < IN_TIME:
        found.append("in time")
    if figures["whole_again_s"] > WHOLE_AGAIN_S:
        found.append("whole again")
    if figures["stage"] and not any(name.startswith(figures["stage"]) for name in figures["degradations"]):
        found.append("degradation named")
    return found


def print_table(console: Console, parts: dict[str, dict[str, Any]], reasons: dict[str, str]) -> None:
    table = Table("fault", "s", "calls", "whole", "in time", "p99 ms", "whole again, s", "fails")
    detail = Table("fault", "degradations", "errors")
    for name, figures in parts.items():
        table.add_row(
            name, f"{figures['fault_s']:.1f}", str(figures["sent"]), str(figures["whole"]),
            f"{figures['in_time_share'] or 0:.4f}", f"{figures['latency']['p99']:.0f}",
            f"{figures['whole_again_s']:.2f}", ", ".join(problems(figures)) or "-",
        )  # fmt: skip
        counts = (figures["degradations"], figures["errors"])
        detail.add_row(name, *(", ".join(f"{key} {count}" for key, count in of.items()) for of in counts))
    console.print(detail)
    console.print(table)
    admitted = sum(figures["sent"] - figures["refused"] for figures in parts.values())
    in_time = sum(
        (figures["in_time_share"] or 0) * (figures["sent"] - figures["refused"]) for figures in parts.values()
    )
    console.print(f"in time: {in_time / admitted:.5f} of {admitted:,} admitted calls (to hold: {IN_TIME})")
    for name, reason in reasons.items():
        if name not in parts:
            console.print(f"not run: {name} ({reason})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    parser.add_argument("--seconds", type=float, default=3.0, help="that a fault lasts")
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second; about half of saturation, or less")
    parser.add_argument("--deadline-ms", type=float, default=150.0)
    parser.add_argument("--faults", nargs="+", help="only those whose name begins so")
    parser.add_argument("--step-clock", action="store_true", help="also step the clock of this machine; needs root")
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = ("seconds", "rate", "deadline_ms", "size", "seed")
    results = Results(arguments.out, {name: getattr(arguments, name) for name in names})
    faults = [
        fault
        for fault in all_faults(arguments.seconds, arguments.step_clock)
        if not arguments.faults or fault.name.startswith(tuple(arguments.faults))
    ]
    if any(fault.name not in results.parts for fault in faults):
        measure(faults, results, arguments)
    print_table(Console(), results.parts, {} if arguments.faults else NOT_EVERYWHERE)
    raise SystemExit(any(problems(figures) for figures in results.parts.values()))


if __name__ == "__main__":
    main()
