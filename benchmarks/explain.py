"""CPU time of explanations: exact Shapley values of ten items on one core, compared with KernelSHAP, sampling and LIME.

    python -m benchmarks.explain --out R.json

200 candidates, a user with 50 interactions, 384 dimensions; ten items are explained. "exact, whole" is all the
work of RankItems for `explain`: 64 coalitions and the most influential events, nothing cached. The peers explain the
same scorer: `calls` counts its calls, `rows` its scored rows, `error` is the largest difference from the exact values.
CPU time does not depend on other load. `--network FOLDER` takes a trained network; otherwise the weights are random,
with the same cost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.explanation_peers import PEERS, Counted, missing_libraries
from services.common.arrays import unit_rows
from services.ranker.adapters.onnx_ranker import OnnxRanker
from services.ranker.domain.attribution import masked_of, shapley
from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.explanation import explain
from services.ranker.domain.objective import Objective
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Ranker
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weighted_sum import weighted_sum
from services.ranker.domain.weights import Weights
from services.ranker.settings import ObjectiveSettings, WeightSettings

GOAL_MS = 10.0
CANDIDATES, INTERACTIONS, ITEMS, DIMENSIONS = 200, 50, 10, 384
NOW_S = 1_700_000_000.0


def random_request(seed: int, model_version: str, dimensions: int) -> RankingRequest:
    random = np.random.default_rng(seed)
    vectors = unit_rows(random.normal(size=(CANDIDATES, dimensions)).astype(np.float32))
    history = [
        HistoryEntry(
            f"h{n}", "", EventType.CLICK, NOW_S - 600 * n, 0,
            ItemFeatures(f"h{n}", vectors[n], model_version, float(10 + n), "Shoes", "B"), f"e{n}", "", float(10 + n),
        )
        for n in range(INTERACTIONS)
    ]  # fmt: skip
    user_history = UserHistory(history, history, (), ())
    return RankingRequest(
        item_ids=[f"i{n}" for n in range(CANDIDATES)],
        retrieval_scores=np.sort(random.uniform(0, 1, CANDIDATES))[::-1].astype(np.float32),
        vectors=vectors,
        prices=random.lognormal(3, 1, CANDIDATES).astype(np.float32),
        stocks=random.integers(0, 9, CANDIDATES).astype(np.float32),
        popularity=random.exponential(5, CANDIDATES).astype(np.float32),
        query=vectors[0],
        profile=build_profile(user_history, model_version, dimensions, NOW_S),
        categories=["Shoes"] * CANDIDATES,
        brands=["B"] * CANDIDATES,
        user_history=user_history,
        model_version=model_version,
        now_s=NOW_S,
        created_s=NOW_S - random.uniform(0, 1e8, CANDIDATES),
    )


def random_network(folder: Path, dimensions: int, model_version: str) -> Path:
    # Imported here: only this function needs torch.
    from training.ranking.learnable import LearnableRanker
    from training.ranking.network import NetworkSettings

    LearnableRanker(NetworkSettings(dimensions=dimensions), vector_version=model_version, seed=1).save(folder)
    return folder


def timed(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median milliseconds of wall-clock time and of CPU time."""
    work()
    spent = []
    for _ in range(repeats):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        spent.append(((time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3))
    clock, cpu = np.median(spent, axis=0).round(3).tolist()
    return {"ms": clock, "cpu_ms": cpu}


def measured(ranker: Ranker, request: RankingRequest, repeats: int) -> dict[str, dict[str, float]]:
    """For each row of the table: milliseconds, scorer calls, scored rows, largest error."""
    scores, rows = ranker(request), list(range(ITEMS))
    report: dict[str, dict[str, float]] = {
        "ranking 200 candidates": timed(lambda: ranker(request), repeats),
        "exact, whole": timed(lambda: explain(request, scores, rows), repeats),
    }
    masked = masked_of(request, scores, rows)
    if masked is None:
        raise ValueError("the ranker gives neither parts nor masked scores")
    scorer = masked.score
    exact = shapley(scorer)
    counted = Counted(scorer)
    shapley(counted)
    report["exact, 64 coalitions"] = {
        **timed(lambda: shapley(scorer), repeats), "calls": counted.calls, "rows": counted.rows, "error": 0.0,
    }  # fmt: skip
    for name, peer in PEERS.items():
        counted = Counted(scorer)
        found = peer(counted, ITEMS)
        report[name] = {
            **timed(partial(peer, scorer, ITEMS), max(3, repeats // 20)), "calls": counted.calls,
            "rows": counted.rows, "error": round(float(np.abs(found - exact.contributions).max()), 6),
        }  # fmt: skip
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--network", type=Path, help="a folder of `python -m training.ranking`")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    if missing := missing_libraries():
        parser.error(missing)
    os.sched_setaffinity(0, {arguments.core})
    weighted = partial(weighted_sum, weights=Weights(**WeightSettings().model_dump()))
    objective = Objective(**ObjectiveSettings().model_dump())
    with tempfile.TemporaryDirectory(prefix="kairos-explain-") as folder:
        path = arguments.network or random_network(Path(folder) / "random", DIMENSIONS, "m@1")
        network = OnnxRanker(path, lambda: objective, weighted, weighted)
        request = random_request(7, network.vector_version, DIMENSIONS)
        report = {
            "weighted sum": measured(weighted, request, arguments.repeats),
            "network": measured(network, request, arguments.repeats),
        }
    table = Table(title=f"explaining {ITEMS} of {CANDIDATES} candidates on one core")
    for heading in ("", "ms", "CPU ms", "calls", "rows scored", "error"):
        table.add_column(heading, justify="right" if heading else "left")
    for ranker, rows in report.items():
        table.add_section()
        for name, row in rows.items():
            cells = [str(row.get(key, "")) for key in ("calls", "rows", "error")]
            table.add_row(f"{ranker}: {name}", f"{row['ms']:.2f}", f"{row['cpu_ms']:.2f}", *cells)
    Console().print(table)
    slowest = max((rows["exact, whole"] for rows in report.values()), key=lambda row: row["ms"])
    took = f"{slowest['ms']:.2f} ms, {slowest['cpu_ms']:.2f} ms of CPU"
    print(f"Goal: under {GOAL_MS:.0f} ms for {ITEMS} items. The slower ranker takes {took}.")
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
