"""A/B tests: false positives under daily peeking, power, the sample-ratio check, and what experiments add to a search.

    python -m benchmarks.experiments --out E.json

A/A tests are looked at each day of 28; a fixed-horizon t-test, looked at as often and at the end only, stands beside.
Units differ in activity and taste, come back and go on buying, as shoppers do. What experiments add to the gateway's
own work on a search is measured in CPU time; `--cost` also measures searches of a suite in this process, in blocks with
and without three experiments. It needs idle cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
import structlog
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.experiments_units import Units, simulated
from demo.catalogue import DemoProduct, build_catalogue
from demo.loading import load_products
from experiments.analysis import RATIO_ALARM, UNDECIDED, compared, sample_ratio
from experiments.outcomes import Sample
from experiments.sequential import difference_of, linearised
from kairos.control.v1 import control_pb2, control_pb2_grpc
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.context import RequestContext
from services.common.convert import context_to_proto
from services.common.experiment import Experiment, Metric
from services.gateway.domain.experiments import Experiments
from services.gateway.metrics import Metrics
from training.bootstrap import median_interval

PEEKED: tuple[Metric, ...] = ("conversion", "click_through", "revenue")
_LEVEL = 0.05
_TIMEOUT_S = 60.0
# Of a search: understanding, retrieval, the order, prices, and what is logged.
_STAGE_CALLS = 6
EXPERIMENT = {"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]}


def looked_at(units: Units, experiment: Experiment) -> dict[str, Any]:
    """By metric: the first day on which each method calls a difference; None: on no day."""
    days = len(units.answers)
    first: dict[str, dict[str, int | None]] = {
        metric: dict.fromkeys(("any time", "t-test each day", "t-test at the end")) for metric in PEEKED
    }
    ratio = None
    for day in range(days):
        sample = units.at(day)
        if ratio is None and sample_ratio(sample, experiment) < RATIO_ALARM:
            ratio = day
        for metric in PEEKED:
            found, own = compared(sample, experiment, "b", metric, _LEVEL), first[metric]
            if own["any time"] is None and found is not None and found.judgement() != UNDECIDED:
                own["any time"] = day
            if _t_test(sample, metric) < _LEVEL:
                if own["t-test each day"] is None:
                    own["t-test each day"] = day
                if day == days - 1:
                    own["t-test at the end"] = day
    return {"first": first, "ratio": ratio}


def _t_test(sample: Sample, metric: Metric) -> float:
    """The p-value of a test that is looked at once, without what was known before."""
    rows = [sample.arm == arm for arm in (0, 1)]
    if not sample.numerators[metric].any():
        return 1.0
    values = [linearised(sample.numerators[metric][of], sample.denominators[metric][of]) for of in rows]
    difference = difference_of(*values)
    error = difference.standard_error
    return float(2 * stats.norm.sf(abs(difference.value) / error)) if error else 1.0


def _one(task: tuple[int, int, int, float, float]) -> dict[str, Any]:
    seed, count, days, lift, lost = task
    experiment = Experiment.model_validate({**EXPERIMENT, "planned_units": count})
    return looked_at(simulated(np.random.default_rng(seed), count, days, lift, lost), experiment)


def tests_of(pool: ProcessPoolExecutor, tests: int, count: int, days: int, lift: float, lost: float) -> dict[str, Any]:
    """How many of the tests each method calls, by metric, and the alarms of the sample ratio."""
    seeds = range(1_000_000, 1_000_000 + tests) if lift or lost else range(tests)
    found = list(pool.map(_one, [(seed, count, days, lift, lost) for seed in seeds], chunksize=8))
    report: dict[str, Any] = {"tests": tests, "units": count, "days": days, "lift": lift, "lost": lost}
    report["sample_ratio_alarms"] = rate([one["ratio"] for one in found])
    for metric in PEEKED:
        methods = {name: [one["first"][metric][name] for one in found] for name in found[0]["first"][metric]}
        report[metric] = {name: rate(each) for name, each in methods.items()}
        called = [day + 1 for day in methods["any time"] if day is not None]
        report[metric]["median_day"] = float(np.median(called)) if called else None
    return report


def rate(days: Sequence[int | None]) -> dict[str, float]:
    """The share of tests that were called, with one-sided 95 % bounds (Clopper-Pearson)."""
    called, n = sum(day is not None for day in days), len(days)
    return {
        "share": called / n,
        "lower": float(stats.beta.ppf(0.05, called, n - called + 1)) if called else 0.0,
        "upper": float(stats.beta.ppf(0.95, called + 1, n - called)) if called < n else 1.0,
    }


def added_us(rounds: int = 5_000) -> dict[str, float]:
    """Microseconds of CPU that three experiments add to the gateway's own work on a search, by what is done."""
    published = Experiments({f"e{n}": Experiment.model_validate({**EXPERIMENT, "layer": f"l{n}"}) for n in range(3)})
    arms, metrics = published.assign("u", "", 0.0).arms, Metrics()

    def page(with_answer: bool) -> bytes:
        shown = ranker_pb2.ShownPositions(ranking_id="r" * 32, positions=range(1, 11))
        if with_answer:
            shown.latency_ms = 12.0
        return shown.SerializeToString()

    def contexts(of: tuple[tuple[str, str], ...]) -> None:
        for _ in range(_STAGE_CALLS):
            context_to_proto(RequestContext("r" * 32, "default", "en", None, of)).SerializeToString()

    def logged() -> None:
        metrics.count_arms(arms, 0.01, False)
        structlog.contextvars.bind_contextvars(experiment_arms=dict(arms))

    found = {
        "assignment": _us(lambda: published.assign("u", "v", 0.0), rounds),
        "context of the stage calls": _us(lambda: contexts(arms), rounds) - _us(lambda: contexts(()), rounds),
        "metrics and access log": _us(logged, rounds),
        "exposure": _us(lambda: page(True), rounds) - _us(lambda: page(False), rounds),
    }
    return {**found, "sum": sum(found.values())}


def _us(work: Callable[[], object], rounds: int) -> float:
    """Median over ten parts: a part that was interrupted does not count."""
    parts = []
    for _ in range(10):
        began = time.thread_time()
        for _ in range(rounds // 10):
            work()
        parts.append((time.thread_time() - began) * 1e6 / (rounds // 10))
    return statistics.median(parts)


def cost(
    products: int, queries: int, rounds: int, experiments: Sequence[control_pb2.Experiment] = ()
) -> dict[str, Any]:  # fmt: skip
    """Milliseconds that experiments of visitors add to a search: without `experiments` three A/B tests, by assignment,
    context, and exposure logging.
    """
    catalogue = build_catalogue(size=products)
    with tempfile.TemporaryDirectory(prefix="kairos-experiments-") as name:
        folder = Path(name)
        port = 20_000 + os.getpid() % 10_000
        own = {"DATA_DIR": str(folder / "control"), "SERVER__PORT": str(port), "METRICS__PORT": "0"}
        environment = {**os.environ, **{f"KAIROS_CONTROL_{name}": value for name, value in own.items()}}
        control = subprocess.Popen([sys.executable, "-m", "services.control"], env=environment)
        try:
            address = f"127.0.0.1:{port}"
            _publish(address, experiments or _three())
            access = {"control": {"target": address, "folder": folder / "published"}}
            with in_process_suite(folder / "state", gateway=access) as suite:
                load_products(Connection(suite.gateway_target, timeout_s=_TIMEOUT_S), folder, catalogue)
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
                    return _in_turn(client, suite.gateway_target, _queries(catalogue, queries), rounds)
        finally:
            control.terminate()
            control.wait()


def _three() -> list[control_pb2.Experiment]:
    return [
        control_pb2.Experiment(
            layer=f"layer-{number}", unit=control_pb2.EXPERIMENT_UNIT_VISITOR,
            arms=[control_pb2.ExperimentArm(name=arm, share=0.5) for arm in ("a", "b")],
        )
        for number in range(3)
    ]  # fmt: skip


def _publish(address: str, experiments: Sequence[control_pb2.Experiment]) -> None:
    """Of visitors: a request without a visitor is in none."""
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(60)
        stub = control_pb2_grpc.ControlServiceStub(channel)
        references = []
        for number, content in enumerate(experiments):
            resource = control_pb2.Resource(
                kind=control_pb2.RESOURCE_KIND_EXPERIMENT, id=f"experiment-{number}", experiment=content
            )
            made = stub.CreateResource(control_pb2.CreateResourceRequest(resource=resource), timeout=10).resource
            references.append(control_pb2.ResourceReference(kind=made.kind, id=made.id, etag=made.etag))
        stub.PublishResources(control_pb2.PublishResourcesRequest(resources=references), timeout=10)


def _queries(products: Sequence[DemoProduct], count: int) -> list[str]:
    random = Random(7)
    return [" ".join(random.choice(products).title.split()[:3]) for _ in range(count)]


def _in_turn(client: ProcessPoolExecutor, target: str, queries: Sequence[str], rounds: int) -> dict[str, Any]:
    """Blocks of searches in and out of experiments; of each the wall times and the CPU time of the whole suite."""
    taken, cpu = np.zeros((rounds, 2, len(queries))), np.zeros((rounds, 2))
    client.submit(_searches, target, queries, True).result()
    for round_ in range(rounds):
        for is_in in (True, False) if round_ % 2 else (False, True):
            began = time.process_time()
            taken[round_, int(is_in)] = client.submit(_searches, target, queries, is_in).result()
            # The log of impressions is sent within this time.
            time.sleep(0.5)
            cpu[round_, int(is_in)] = (time.process_time() - began) * 1e3 / len(queries)
    wall, added = taken[:, 1] - taken[:, 0], cpu[:, 1] - cpu[:, 0]
    return {
        "searches": wall.size, "without_p50_ms": float(np.median(taken[:, 0])),
        "with_p50_ms": float(np.median(taken[:, 1])), "added_p50_ms": float(np.median(wall)),
        "added_interval_ms": median_interval(wall.T, seed=0), "cpu_without_ms": float(np.median(cpu[:, 0])),
        "added_cpu_p50_ms": float(np.median(added)),
        "added_cpu_interval_ms": median_interval(added[:, np.newaxis], seed=0),
    }  # fmt: skip


def _searches(target: str, queries: Sequence[str], is_in: bool) -> list[float]:
    """Milliseconds of each. Users ask with a visitor's id (in three experiments) or without (in none)."""
    taken = []
    with Connection(target, timeout_s=_TIMEOUT_S).stub() as stub:
        for number, query in enumerate(queries):
            message = gateway_pb2.SearchRequest(
                query=query, user_id=f"u{number}", visitor_id=f"v{number}" if is_in else ""
            )
            began = time.perf_counter()
            stub.Search(message, timeout=_TIMEOUT_S)
            taken.append((time.perf_counter() - began) * 1e3)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=1_000, help="A/A tests")
    parser.add_argument("--power-tests", type=int, default=300, help="tests with a true difference")
    parser.add_argument("--units", type=int, default=4_000)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--lift", type=float, default=0.09, help="how much more the better arm clicks, as a share")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cost", action="store_true", help="measure searches too")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    report: dict[str, Any] = {"added_us": added_us()}
    with ProcessPoolExecutor(options.workers) as pool:
        n, units, days = options.power_tests, options.units, options.days
        report["no difference"] = tests_of(pool, options.tests, units, days, 0.0, 0.0)
        report["a difference"] = tests_of(pool, n, units, days, options.lift, 0.0)
        report["a twentieth of an arm lost"] = tests_of(pool, n, units, days, 0.0, 0.05)
        report["a tenth of an arm lost"] = tests_of(pool, n, units, days, 0.0, 0.1)
    table = Table(
        "share of tests that are called", "metric", "any time", "t-test each day", "t-test at the end", box=None
    )
    for name in ("no difference", "a difference"):
        for metric in PEEKED:
            shares = report[name][metric]
            cells = [f"{shares[each]['share']:.3f} (≤ {shares[each]['upper']:.3f})" for each in list(shares)[:3]]
            table.add_row(name, metric, *cells)
    Console().print(table)
    for name in ("no difference", "a twentieth of an arm lost", "a tenth of an arm lost"):
        alarms = report[name]["sample_ratio_alarms"]
        print(f"sample ratio, {name}: {alarms['share']:.3f} (≤ {alarms['upper']:.3f})")
    parts = ", ".join(f"{name} {value:.0f}" for name, value in report["added_us"].items())
    print(f"CPU that three experiments add to the gateway's work on a search, µs: {parts}")
    if options.cost:
        report["cost"] = cost(300, 100, 10)
        for name, what in (("", "time"), ("cpu_", "CPU time of the suite")):
            low, high = report["cost"][f"added_{name}interval_ms"]
            added = report["cost"][f"added_{name}p50_ms"]
            print(f"added to a search, p50, {what}: {added:.3f} ms [{low:.3f}, {high:.3f}]")
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
