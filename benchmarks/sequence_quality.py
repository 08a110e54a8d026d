"""Next-item prediction by full ranking: Kairos beside popularity, neighbours, factorisation, LambdaMART and SASRec.

    python -m benchmarks.sequence_quality --sequences S.csv.gz --items I.csv.gz --out R.json

S: asin_sequence_chronological (item ids separated by spaces), optionally timestamps (as many numbers). I: asin, and any
of keywords, brand, categories. Leave-one-out: the last item of each user is the test target, the one before it the
validation target, all others are for training. The validation targets select the settings of every method, and the
trees of LambdaMART and of Kairos' re-ranking are trained on them; the test only measures. All items are ranked except
those of the history; items with equal scores rank before the target. HR@10 and NDCG@10, with a paired bootstrap
interval of Kairos − best baseline.

Also a global temporal split, without the baselines that train for minutes: training is the time before one cut, the
target is each user's first interaction after it. If S has no timestamps, times are estimated from the order of the
sequences (`training.sequence.data.estimated_times`), and the report says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks import sequence_baselines as baselines
from benchmarks.sasrec import SasRecSettings, fit_sasrec
from training.bootstrap import mean_interval
from training.sequence import similarity
from training.sequence.data import Histories, IntArray, Split, global_temporal, leave_one_out, read_histories
from training.sequence.evaluation import FloatArray, Scorer, gains, hit_rate, ndcg, ranks
from training.sequence.neighbours import COSINE
from training.sequence.recommender import RecommenderSettings, fit
from training.sequence.reranker import Reranker

KAIROS = "kairos"
MIXTURE = "kairos, mixture without re-ranking"
NETWORK, NEIGHBOURS, TEXT = (f"{KAIROS}, {part} alone" for part in ("network", "neighbours", "text similarity"))


@dataclass(frozen=True)
class Figures:
    """Of one method: `ranks` [users], seconds to fit and to rank, and a report with its chosen settings."""

    ranks: IntArray
    fit_s: float
    test_s: float
    report: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        return {
            "hr@10": round(hit_rate(self.ranks), 5),
            "ndcg@10": round(ndcg(self.ranks), 5),
            "fit_s": round(self.fit_s, 1),
            "test_s": round(self.test_s, 1),
            **self.report,
        }


def measure(
    histories: Histories, split: Split, settings: RecommenderSettings, seed: int, threads: int, *, trained: bool
) -> dict[str, Figures]:
    """By method; with `trained`, also the baselines whose training takes minutes."""
    count, found = histories.item_count, {}

    def run(name: str, fitted: Callable[[], tuple[Scorer, Mapping[str, Any]]]) -> Scorer:
        started = time.perf_counter()
        scorer, report = fitted()
        fit_s = time.perf_counter() - started
        found[name] = _tested(scorer, split, fit_s, report, name)
        return scorer

    popular = run("popularity", lambda: (baselines.popularity(split, count), {}))
    run("item-to-item, cosine", lambda: (baselines.item_to_item(split, count, COSINE), {}))
    near = run("item-to-item, tuned", lambda: baselines.tuned_item_to_item(split, count, seed))
    kernel = run("kernel kNN over histories", lambda: baselines.tuned_history_neighbours(split, count, seed))
    if trained:
        run("matrix factorisation (ALS)", lambda: baselines.tuned_factors(split, count, seed, threads))

        # Power 1: with Kairos' power fewer targets would be among the candidates.
        text = similarity.scorer(histories.texts, history_decay=0.8, power=1)

        def sources(batch: Sequence[IntArray]) -> list[FloatArray]:
            found = [near(batch), kernel(batch), popular(batch), text(batch)]
            return [sum(own / np.maximum(own.max(axis=1, keepdims=True), 1e-9) for own in found), *found]

        run("LightGBM LambdaMART", lambda: (Reranker(histories, split, sources, seed, threads), {}))
        run("SASRec as first published", lambda: fit_sasrec(split, count, SasRecSettings(seed=seed)))
    started = time.perf_counter()
    kairos = fit(histories, split, settings, threads)
    fit_s = time.perf_counter() - started
    report = {
        "neighbours_share": kairos.shares[0],
        "text_share": kairos.shares[1],
        "validation_ndcg@10": kairos.validation,
        "is_reranked": kairos.is_reranked,
        "curve": kairos.curve,
    }
    found[KAIROS] = _tested(kairos, split, fit_s, report, KAIROS)
    if trained:
        found[MIXTURE] = _tested(replace(kairos, reranker=None), split, fit_s, {}, MIXTURE)
        found[NETWORK] = _tested(replace(kairos, reranker=None, shares=(0.0, 0.0)), split, fit_s, {}, NETWORK)
        found[NEIGHBOURS] = _tested(kairos.neighbours, split, 0.0, {}, NEIGHBOURS)
        found[TEXT] = _tested(kairos.text, split, 0.0, {}, TEXT)
    return found


def compared(found: Mapping[str, Figures], seed: int) -> dict[str, Any]:
    others = [name for name in found if not name.startswith(KAIROS)]
    best = max(others, key=lambda name: ndcg(found[name].ranks))
    return {
        "best_baseline": best,
        "ndcg@10": round(ndcg(found[KAIROS].ranks) - ndcg(found[best].ranks), 5),
        "interval_95": mean_interval(gains(found[KAIROS].ranks) - gains(found[best].ranks), seed, digits=5),
    }


def show(title: str, found: Mapping[str, Figures]) -> None:
    table = Table(title=title)
    for heading in ("", "HR@10", "NDCG@10", "fit s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in found.items():
        table.add_row(
            name, f"{hit_rate(figures.ranks):.4f}", f"{ndcg(figures.ranks):.4f}", f"{figures.fit_s:.0f}"
        )  # fmt: skip
    Console(width=100).print(table)


def plot(splits: Mapping[str, Mapping[str, Figures]], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, len(splits), figsize=(7 * len(splits), 4.5), layout="constrained")
    for axis, (name, found) in zip(np.atleast_1d(axes), splits.items(), strict=True):
        values = [ndcg(figures.ranks) for figures in found.values()]
        colors = ["tab:blue" if method.startswith(KAIROS) else "tab:grey" for method in found]
        axis.bar_label(axis.barh(list(found), values, color=colors), fmt="%.4f", padding=3)
        axis.set(title=f"NDCG@10, {name}", xlim=(0, max(*values, 1e-3) * 1.2))
        axis.invert_yaxis()
    chart.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; a plot goes beside it (.png)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=RecommenderSettings().training.epochs, help="of Kairos' network")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    histories = read_histories(arguments.sequences, arguments.items)
    base = RecommenderSettings()
    settings = replace(base, training=replace(base.training, seed=arguments.seed, epochs=arguments.epochs))
    splits = {
        "leave-one-out": (leave_one_out(histories), settings, True),
        "global temporal": (global_temporal(histories), settings, False),
    }
    results, report = (
        {},
        {
            "users": len(histories.sequences),
            "items": histories.item_count,
            "interactions": sum(map(len, histories.sequences)),
            "seed": arguments.seed,
            "times": "given" if histories.times is not None else "estimated",
            "settings": asdict(settings),
        },
    )
    with threadpool_limits(arguments.threads):
        for name, (split, own, trained) in splits.items():
            found = measure(histories, split, own, arguments.seed, arguments.threads, trained=trained)
            times = f", times {report['times']}" if name == "global temporal" else ""
            show(f"{name}{times}: {len(split.test_targets):,} users, all {histories.item_count:,} items", found)
            versus = compared(found, arguments.seed)
            low, high = versus["interval_95"]
            print(f"{KAIROS} − {versus['best_baseline']}: {versus['ndcg@10']:+.4f} (95 %: {low:+.4f} to {high:+.4f})")
            results[name] = found
            report[name] = {"figures": {method: own.summary() for method, own in found.items()}, "kairos": versus}
            arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    plot(results, arguments.out.with_suffix(".png"))
    return 0


def _tested(scorer: Scorer, split: Split, fit_s: float, report: Mapping[str, Any], name: str) -> Figures:
    started = time.perf_counter()
    with tqdm(total=1, desc=f"{name}: test", mininterval=2) as bar:
        found = ranks(scorer, split.test_histories, split.test_targets)
        bar.update()
    return Figures(found, fit_s, time.perf_counter() - started, report)


if __name__ == "__main__":
    sys.exit(main())
