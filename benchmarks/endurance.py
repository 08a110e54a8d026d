"""A long mixed load: memory and descriptors of every process over time, and profiles equal to a replay of the log.

    python -m benchmarks.endurance --minutes 60 --out endurance.json

Starts the suite under Ray Serve with the demo shop. A client of low priority sends a shop's mix (as `benchmarks.load`)
at `--rate`, open loop. Every few seconds the resident memory and the open descriptors of each process are read. After
the first quarter, in which caches fill, each has a slope with a 95 % interval (Theil and Sen): a process is **flat** if
the interval contains a growth of less than 2 % of its memory, and less than one descriptor, in an hour. At the end the
suite is stopped, and its log is replayed into a new store: each user's profile must be equal, bit by bit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import matplotlib as mpl
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from scipy.stats import theilslopes
from tqdm import tqdm

from benchmarks.load_calls import Offer
from benchmarks.load_client import client_process
from benchmarks.load_suite import SHOPPERS, running_suite
from benchmarks.load_summary import summarise
from benchmarks.load_traffic import KINDS, Traffic, demo_visits, poisson
from benchmarks.replay import differing_profiles
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from ops.client import Connection
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT
from services.ranker.adapters.sqlite_store import SqliteProfileStore

GROWTH, DESCRIPTORS = 0.02, 1.0
_HOUR_S = 3_600.0
# The load is offered in parts, so that second pages have tokens that have not expired.
_PART_S = 60.0
_PAGE = 5_000

# By process ("ranker 4711"): rows of (seconds, resident bytes, descriptors).
Samples = dict[str, list[tuple[float, int, int]]]


def measure(minutes: float, rate: float, every_s: float, size: int, seed: int) -> dict[str, Any]:
    catalogue = build_catalogue(size=size)
    traffic, samples = Traffic(demo_visits(catalogue, SHOPPERS), KINDS), Samples()
    parts = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="kairos-endurance-") as name:
        settings = SuiteSettings.on_free_ports(Path(name) / "suite")
        with running_suite(settings) as state, client_process() as client:
            connection = Connection(state.gateway, timeout_s=60.0)
            load_shop(connection, Path(name), catalogue, SHOPPERS)
            began_s = time.monotonic()
            for number in tqdm(range(max(1, round(60 * minutes / _PART_S))), desc="minutes"):
                random, seconds = Random(f"{seed}/{number}"), min(_PART_S, 60 * minutes)
                traffic.refresh(connection, random)
                due_s = poisson([(rate, seconds)], np.random.default_rng([seed, number]))
                offer = Offer(state.gateway, traffic.kinds, traffic.arrivals(due_s, random), budget_s=0.15)
                calling = client.submit(offer)
                while not calling.done():
                    read_processes(settings.data_dir, time.monotonic() - began_s, samples)
                    with contextlib.suppress(TimeoutError):
                        calling.exception(every_s)
                parts.append(summarise(calling.result(), traffic.kinds, seconds))
        persons, differing = replayed(settings.data_dir / "ranker", Path(name) / "replay")
    counted = ("sent", "whole", "degraded", "refused")
    return {
        "minutes": minutes, "rate": rate, **{name: sum(part[name] for part in parts) for name in counted},
        "errors": sum(sum(part["errors"].values()) for part in parts), "samples": samples,
        "profiles": persons, "differing_profiles": differing,
    }  # fmt: skip


def read_processes(data_dir: Path, at_s: float, samples: Samples) -> None:
    """Adds a row for each process of the suite."""
    for process in suite_processes(data_dir):
        with contextlib.suppress(psutil.Error):
            descriptors = psutil.Process(process.pid).num_fds()
            row = (round(at_s, 1), process.resident_bytes, descriptors)
            samples.setdefault(f"{process.name} {process.pid}", []).append(row)


def replayed(folder: Path, empty: Path) -> tuple[int, list[str]]:
    """(number of persons in the log, those whose profile differs from a replay into a store in `empty`)."""
    with (
        contextlib.closing(SqliteProfileStore(folder)) as store,
        contextlib.closing(SqliteProfileStore(empty)) as replay,
    ):
        persons = sorted(set(_persons(store)))
        return len(persons), differing_profiles(store, replay, DEFAULT_TENANT, persons)


def _persons(store: SqliteProfileStore) -> Iterator[str]:
    position = 0
    while events := store.events_after(DEFAULT_TENANT, position, _PAGE):
        position = events[-1][0]
        yield from (event.person for _, event in events)


def slope_of(seconds: Any, values: Any) -> tuple[float, float, float]:
    """(growth in an hour, ends of its 95 % interval)."""
    slope, _, low, high = theilslopes(values, seconds)
    return _HOUR_S * slope, _HOUR_S * low, _HOUR_S * high


def rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """For each process that lived to the end: memory, descriptors, their growth, and whether both are flat."""
    found, end_s = [], 60 * report["minutes"]
    for name, samples in report["samples"].items():
        table = np.array([row for row in samples if row[0] > end_s / 4], float)
        if len(table) < 3 or table[-1, 0] < 0.9 * samples_end(report):
            continue
        memory, descriptors = slope_of(table[:, 0], table[:, 1]), slope_of(table[:, 0], table[:, 2])
        size = float(np.median(table[:, 1]))
        flat = memory[1] <= GROWTH * size and descriptors[1] <= DESCRIPTORS
        found.append({"process": name, "mb": size / 1e6, "mb_an_hour": [value / 1e6 for value in memory],
                      "descriptors": float(np.median(table[:, 2])), "descriptors_an_hour": list(descriptors),
                      "flat": bool(flat)})  # fmt: skip
    return found


def samples_end(report: dict[str, Any]) -> float:
    return max(float(samples[-1][0]) for samples in report["samples"].values())


def plot(report: dict[str, Any], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, (memory, descriptors) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for row in rows(report):
        table = np.array(report["samples"][row["process"]], float)
        memory.plot(table[:, 0] / 60, table[:, 1] / 1e6, label=row["process"])
        descriptors.plot(table[:, 0] / 60, table[:, 2])
    memory.set(title="resident memory", xlabel="minutes", ylabel="MB", ylim=(0, None))
    descriptors.set(title="open descriptors", xlabel="minutes", ylim=(0, None))
    chart.legend(loc="outside right upper", fontsize=8)
    chart.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("endurance.json"), help="a plot goes beside it (.png)")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=25.0, help="calls a second")
    parser.add_argument("--every-s", type=float, default=10.0, help="seconds between two readings")
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report = measure(arguments.minutes, arguments.rate, arguments.every_s, arguments.size, arguments.seed)
    found = rows(report)
    arguments.out.write_text(json.dumps(report | {"processes": found}, indent=1) + "\n")
    plot(report, arguments.out.with_suffix(".png"))
    table = Table("process", "MB", "MB an hour (95 %)", "descriptors", "an hour (95 %)", "flat")
    for row in found:
        growth, opened = ("{:+.1f} ({:+.1f} to {:+.1f})".format(*row[name])
                          for name in ("mb_an_hour", "descriptors_an_hour"))  # fmt: skip
        table.add_row(row["process"], f"{row['mb']:.0f}", growth, f"{row['descriptors']:.0f}", opened,
                      "yes" if row["flat"] else "NO")  # fmt: skip
    console = Console()
    console.print(table)
    counts = ", ".join(f"{name} {report[name]:,}" for name in ("sent", "whole", "degraded", "refused", "errors"))
    console.print(f"{counts}; {report['profiles']} profiles, {len(report['differing_profiles'])} differ from a replay")
    raise SystemExit(bool(report["differing_profiles"]) or not all(row["flat"] for row in found))


if __name__ == "__main__":
    main()
