"""NDCG@10 of the running suite by latency budget and by load: what a short deadline and an overload cost in quality.

    python -m benchmarks.quality_under_pressure --data DIR --out pressure.json

DIR has products.csv.gz and judgements.csv.gz, as `benchmarks.search_quality` describes them. Starts the suite under Ray
Serve, imports the products, and searches for a seeded sample of the queries, each as an unknown shopper.

- **By budget**: one search in flight, with each deadline and without other load.
- **By load**: the deadline is 150 ms; meanwhile a client of low priority offers searches of other queries, open loop,
  at multiples of saturation (the highest rate of whole answers of a closed loop).

A degraded answer counts as it is. A search without an answer (refused, or past its deadline) counts as 0 in "ndcg@10",
and not at all in "ndcg@10 of answers". The floor is the list of popular items for every query: what the suite answers
when retrieval is late. A finished row is written at once, and the same command continues from it; a plot goes beside
the JSON file (.png). With `--folder` the imported products are kept for the next run.

Every row has the same queries, so the caches of the stages are off.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import grpc
import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks import caches
from benchmarks.load_calls import OK, Offer, degradations_of
from benchmarks.load_client import Client, client_process
from benchmarks.load_suite import import_data, judgements_file, running_suite
from benchmarks.load_traffic import SEARCH, Traffic, Visit, poisson
from benchmarks.results import Results
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.settings import SuiteSettings
from training.bootstrap import mean_interval
from training.search.data import Judgements, ndcg, read_judgements

BUDGETS_MS = (20, 30, 50, 80, 150)
FULL_MS = 150
MULTIPLES = (0.5, 1.0, 2.0, 5.0)
FLOOR, SATURATION, UNLIMITED = "popular items", "saturation", "no deadline"
# To hold: at 50 ms so much of the NDCG@10 with the full budget.
AT_50_MS = 0.9
_PAGE = 10
_SATURATING, _SATURATION_S = (4, 8, 16), 5.0
# The background load runs at least so long; it ends with the searches that are measured.
_SCHEDULE_S = 120.0
# Until the background load has begun, and its queues are as they will be.
_LEAD_S = 3.0


class Pressure:
    """Measures rows for a sample of judged queries; background load searches for the others."""

    def __init__(self, target: str, client: Client, judgements: Judgements, sample: int, seed: int) -> None:
        queries = Random(seed).sample(sorted(judgements), min(2 * sample, len(judgements)))
        self._sample, rest = queries[:sample], queries[sample:] or queries
        self._target, self._client, self._judgements, self._seed = target, client, judgements, seed
        self._load = Traffic([Visit(query) for query in rest], SEARCH)

    def row(self, budget_ms: float) -> dict[str, Any]:
        """Figures of the sample with this deadline, one search in flight."""
        gains, answered, outcomes = list[float](), list[bool](), Counter[str]()
        with Connection(self._target).stub() as stub:
            # The first call connects, which no deadline would allow for.
            stub.Suggest(gateway_pb2.SuggestRequest(), timeout=10.0)
            for query in self._sample:
                request = gateway_pb2.SearchRequest(query=query[:512], page_size=_PAGE)
                try:
                    answer = stub.Search(request, timeout=budget_ms / 1e3)
                except grpc.RpcError as error:
                    outcomes[error.code().name] += 1
                    gains.append(ndcg([], self._judgements[query]))
                    answered.append(False)
                    continue
                outcomes.update(degradations_of(answer) or ["whole"])
                gains.append(ndcg([result.product.id for result in answer.results], self._judgements[query]))
                answered.append(True)
        return figures(np.array(gains), np.array(answered), self._seed) | {"outcomes": dict(outcomes)}

    def floor(self) -> dict[str, Any]:
        """Figures of the popular items, for every query of the sample."""
        with Connection(self._target).stub() as stub:
            answer = stub.Recommend(gateway_pb2.RecommendRequest(page_size=_PAGE), timeout=10.0)
        ids = [result.product.id for result in answer.results]
        gains = np.array([ndcg(ids, self._judgements[query]) for query in self._sample])
        return figures(gains, np.ones(len(gains), bool), self._seed)

    def saturation(self) -> dict[str, Any]:
        """The highest rate of whole answers, in answers a second."""
        rates = []
        for in_flight in _SATURATING:
            arrivals = self._load.arrivals(np.zeros(4_000), Random(self._seed))
            offer = Offer(self._target, SEARCH, arrivals, FULL_MS / 1e3, in_flight, _SATURATION_S)
            rates.append(sum(call.whole for call in self._client.make(offer).ended) / _SATURATION_S)
        return {"whole_per_s": max(rates)}

    def under_load(self, rate: float) -> dict[str, Any]:
        """The row of the full budget beside `rate` background searches a second."""
        with self._background(rate) as client:
            row = self.row(FULL_MS)
        return row | {"background": client, "rate": round(rate, 1)}

    @contextlib.contextmanager
    def _background(self, rate: float) -> Iterator[dict[str, Any]]:
        due_s = poisson([(rate, _SCHEDULE_S)], np.random.default_rng([self._seed, round(10 * rate)]))
        arrivals = self._load.arrivals(due_s, Random(self._seed))
        offer, outcomes = Offer(self._target, SEARCH, arrivals, FULL_MS / 1e3), dict[str, Any]()
        calling = self._client.submit(offer)
        time.sleep(_LEAD_S)
        try:
            yield outcomes
        finally:
            self._client.stop()
        calls = calling.result()
        outcomes |= Counter("whole" if call.whole else "degraded" if call.code == OK else call.code
                            for call in calls.ended)  # fmt: skip


def figures(gains: np.ndarray[Any, np.dtype[np.float64]], answered: Any, seed: int) -> dict[str, Any]:
    """`gains`: NDCG@10 by query, NaN without a relevant product; `answered`: whether there was an answer."""
    low, high = mean_interval(gains, seed)
    return {
        "ndcg@10": round(float(np.nanmean(gains)), 4), "interval_95": [round(low, 4), round(high, 4)],
        "ndcg@10 of answers": round(float(np.nanmean(gains[answered])), 4) if answered.any() else None,
        "answered": round(float(answered.mean()), 4),
    }  # fmt: skip


def measure(data: Path, folder: Path, results: Results, sample: int, seed: int) -> None:
    settings = SuiteSettings.on_free_ports(folder / "suite")
    with running_suite(settings) as state, client_process() as client:
        import_data(Connection(state.gateway, timeout_s=60.0), data, folder)
        pressure = Pressure(state.gateway, client, read_judgements(judgements_file(data)), sample, seed)
        pressure.row(1e3)  # warms up
        results.part(FLOOR, pressure.floor)
        results.part(UNLIMITED, lambda: pressure.row(2e3))
        for budget_ms in tqdm(BUDGETS_MS, desc="budgets"):
            results.part(budget_name(budget_ms), lambda budget_ms=budget_ms: pressure.row(budget_ms))  # type: ignore[misc]
        rate = results.part(SATURATION, pressure.saturation)["whole_per_s"]
        for multiple in tqdm(MULTIPLES, desc="loads"):
            under = lambda multiple=multiple: pressure.under_load(multiple * rate)  # noqa: E731
            results.part(load_name(multiple), under)


def budget_name(budget_ms: float) -> str:
    return f"budget {budget_ms:g} ms"


def load_name(multiple: float) -> str:
    return f"load {multiple:g} × saturation"


def plot(parts: Mapping[str, Any], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    curve(left, BUDGETS_MS, [parts[budget_name(budget_ms)] for budget_ms in BUDGETS_MS])
    left.set(title="by budget", xlabel="deadline in ms, one search in flight", ylabel="NDCG@10")
    curve(right, (0.0, *MULTIPLES), [parts[budget_name(FULL_MS)], *(parts[load_name(m)] for m in MULTIPLES)])
    right.set(title="by load", xlabel="background load, multiples of saturation; deadline 150 ms", ylim=(0, None))
    for axis in (left, right):
        axis.axhline(parts[UNLIMITED]["ndcg@10"], linestyle=":", color="grey", label=UNLIMITED)
        axis.axhline(parts[FLOOR]["ndcg@10"], linestyle="--", color="red", label=FLOOR)
    chart.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    chart.savefig(path)


def curve(axis: Any, places: Sequence[float], rows: Sequence[Mapping[str, Any]]) -> None:
    axis.plot(places, [row["ndcg@10"] for row in rows], "o-", label="all searches; 0 without an answer")
    axis.plot(places, [row["ndcg@10 of answers"] or np.nan for row in rows], "s-", label="answers")
    axis.fill_between(places, *zip(*(row["interval_95"] for row in rows), strict=True), alpha=0.2)


def print_tables(console: Console, parts: Mapping[str, Any]) -> None:
    outcomes = Table("", "searches by outcome: code, or each degradation")
    table = Table("", "NDCG@10", "95 %", "of answers", "answered")
    for name, row in parts.items():
        if name != SATURATION:
            low, high = row["interval_95"]
            answers = row["ndcg@10 of answers"]
            outcomes.add_row(name, ", ".join(f"{key} {count}" for key, count in row.get("outcomes", {}).items()))
            table.add_row(name, f"{row['ndcg@10']:.4f}", f"{low:.4f} to {high:.4f}",
                          "" if answers is None else f"{answers:.4f}", f"{row['answered']:.1%}")  # fmt: skip
    console.print(outcomes)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("pressure.json"))
    parser.add_argument("--folder", type=Path, help="of the suite's state; default: a temporary one")
    parser.add_argument("--sample", type=int, default=400, help="queries of each row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    results = Results(arguments.out, {"data": str(arguments.data), "sample": arguments.sample, "seed": arguments.seed})
    names = [*map(budget_name, BUDGETS_MS), *map(load_name, MULTIPLES), FLOOR, UNLIMITED, SATURATION]
    if not all(name in results.parts for name in names):
        caches.switch_off()
        with tempfile.TemporaryDirectory(prefix="kairos-pressure-") as folder:
            measure(arguments.data, arguments.folder or Path(folder), results, arguments.sample, arguments.seed)
    print_tables(Console(), results.parts)
    full, floor = results.parts[UNLIMITED]["ndcg@10"], results.parts[FLOOR]["ndcg@10"]
    at_50 = results.parts[budget_name(50)]["ndcg@10"]
    lowest = min(results.parts[name]["ndcg@10 of answers"] or 0.0 for name in names[:-3])
    print(f"at 50 ms {at_50 / full:.3f} of the value without a deadline (to hold: {AT_50_MS}); "
          f"lowest of answers {lowest:.4f}, popular items {floor:.4f}")  # fmt: skip
    plot(results.parts, arguments.out.with_suffix(".png"))
    raise SystemExit(at_50 < AT_50_MS * full or lowest < floor)


if __name__ == "__main__":
    main()
