"""What one network for several tasks is worth, against a network for each, and what taking the position out brings.

    python -m benchmarks.multitask --out R.json --plot R.png

Lists of the demo shop's simulated shoppers (`demo.shoppers`) teach on the first four fifths of the days and are told on
the last. AUC, calibration error (ECE, 15 bins) and log loss compare predictions, at the place where an item stood, with
what was done. The simulator also knows the truth, and clicks are compared with it at one and the same place: the rank
correlation with the true utility within each list, the AUC against clicks drawn once more with all places alike.

Then the order: NDCG@10 against those unbiased clicks, for the network, the shop's baselines and LightGBM's LambdaMART
on the same features (without the vectors) with its own correction for positions. The order of the truth itself is the
most that anyone can reach.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import lightgbm
import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.ranker_data import SimulatedLists, simulated_lists
from services.common.arrays import FloatArray
from services.ranker.domain.baselines import by_nearest_to_mean, by_popularity, by_retrieval, by_shuffle
from services.ranker.domain.objective import Objective
from services.ranker.domain.scores import Ranker
from services.ranker.domain.weighted_sum import Weights, weighted_sum
from services.ranker.settings import ObjectiveSettings, WeightSettings
from training.ranking.examples import TASKS, Examples
from training.ranking.learnable import LearnableRanker
from training.ranking.metrics import auc, calibration_error, log_loss, mean_rank_correlation, ndcg, reliability
from training.ranking.network import NetworkSettings
from training.ranking.training import Training

TREES = 300
TAUGHT = 0.8
Predictions = dict[str, FloatArray]
Figures = dict[str, dict[str, float]]


def predictions(
    taught: Examples,
    told: Examples,
    tasks: Sequence[str],
    debias: Literal["tower", "weights", "none"],
    epochs: int,
    seed: int,
) -> tuple[Predictions, Predictions]:
    """(as shown, at the first place), from one network for the tasks."""
    settings = NetworkSettings(told.dimensions, tuple(tasks), chained=len(tasks) > 1)
    ranker = LearnableRanker(settings, Training(debias=debias), seed=seed)
    ranker.update(taught, epochs, seed, quiet=False)
    return ranker.predict_as_shown(told), ranker.predict(told)


def networks(taught: Examples, told: Examples, epochs: int, seed: int) -> dict[str, tuple[Predictions, Predictions]]:
    learn = partial(predictions, taught, told, epochs=epochs, seed=seed)
    alone: tuple[Predictions, Predictions] = ({}, {})
    for task in TASKS:
        for into, found in zip(alone, learn([task], "tower"), strict=True):
            into |= found
    return {
        "multi-task": learn(TASKS, "tower"),
        "single-task": alone,
        "positions weighted": learn(TASKS, "weights"),
        "positions left in": learn(TASKS, "none"),
    }


def of_tasks(told: Examples, shown: Predictions) -> Figures:
    return {
        task: {
            "auc": auc(getattr(told, task), shown[task]),
            "ece": calibration_error(getattr(told, task), shown[task]),
            "log_loss": log_loss(getattr(told, task), shown[task]),
        }
        for task in TASKS
    }


def of_truth(told: SimulatedLists, scores: FloatArray) -> dict[str, float]:
    page = told.examples.page
    return {
        "rank_correlation": mean_rank_correlation(page, scores, told.wanted),
        "auc": auc(told.unbiased, scores),
        "ndcg": ndcg(page, scores, told.unbiased),
    }


def baselines() -> Mapping[str, Ranker]:
    weights = Weights(**WeightSettings().model_dump())
    return {
        "shuffle": by_shuffle, "popularity": by_popularity, "retrieval order": by_retrieval,
        "nearest to the mean": by_nearest_to_mean, "weighted sum": partial(weighted_sum, weights=weights),
    }  # fmt: skip


def lambdamart(taught: Examples, told: Examples, seed: int) -> FloatArray:
    """Trained to order purchases above carts above clicks."""

    def features(of: Examples) -> FloatArray:
        return np.hstack([of.numbers, of.context[of.page]])

    data = lightgbm.Dataset(
        features(taught), taught.click + taught.cart + taught.purchase, group=np.bincount(taught.page),
        position=taught.positions,
    )  # fmt: skip
    settings = {
        "objective": "lambdarank", "learning_rate": 0.05, "num_leaves": 31, "seed": seed, "num_threads": 1,
        "deterministic": True, "verbose": -1,
    }  # fmt: skip
    scores: FloatArray = np.asarray(lightgbm.train(settings, data, TREES).predict(features(told)), np.float32)
    return scores


def orders(taught: Examples, told: SimulatedLists, found: Predictions, seed: int) -> dict[str, FloatArray]:
    """Scores [n] of each way of ordering."""
    objective = Objective(**ObjectiveSettings().model_dump())
    made = {name: _scored(ranker, told) for name, ranker in baselines().items()}
    return made | {
        "as it was shown": -told.examples.positions.astype(np.float32),
        "LambdaMART": lambdamart(taught, told.examples, seed),
        "network": objective.score(found, np.full(len(told.examples), -1.0, np.float32)),
        "network, clicks": found["click"],
        "truth": told.wanted,
    }


def _scored(ranker: Ranker, told: SimulatedLists) -> FloatArray:
    scores: FloatArray = np.concatenate([ranker(request).total for request in told.requests])
    return scores


def one_seed(lists: SimulatedLists, epochs: int, seed: int) -> tuple[dict[str, Figures], dict[str, list[list[float]]]]:
    count = lists.examples.page_count
    split = round(count * TAUGHT)
    taught = lists.examples.take(np.arange(split))
    told = lists.take(np.arange(split, count))
    found = networks(taught, told.examples, epochs, seed)
    tasks = {name: of_tasks(told.examples, shown) for name, (shown, _) in found.items()}
    truth = {name: of_truth(told, still["click"]) for name, (_, still) in found.items()}
    order = {
        name: of_truth(told, scores) for name, scores in orders(taught, told, found["multi-task"][1], seed).items()
    }
    curves = {
        f"{name}/{task}": reliability(getattr(told.examples, task), found[name][0][task]).tolist()
        for name in ("multi-task", "single-task")
        for task in TASKS
    }
    flat = {f"{name}/{task}": figures for name, of in tasks.items() for task, figures in of.items()}
    return {"tasks": flat, "truth": truth, "order": order}, curves


def summed_up(runs: Sequence[Figures]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation over the seeds."""
    return {
        row: {
            name: {
                "mean": float(np.mean([run[row][name] for run in runs])),
                "sd": float(np.std([run[row][name] for run in runs], ddof=min(1, len(runs) - 1))),
            }
            for name in runs[0][row]
        }
        for row in runs[0]
    }


def print_tables(report: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> None:
    titles = {
        "tasks": "predictions against what was done", "truth": "p(click) at one place against the truth",
        "order": "orders against the truth",
    }  # fmt: skip
    for part, title in titles.items():
        rows = report[part]
        table = Table("", *next(iter(rows.values())), title=title)
        for name, figures in rows.items():
            table.add_row(name, *(f"{f['mean']:.4f} ± {f['sd']:.4f}" for f in figures.values()))
        Console().print(table)


def draw(file: Path, curves: Mapping[str, list[list[float]]]) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(TASKS), figsize=(4 * len(TASKS), 4))
    for axis, task in zip(axes, TASKS, strict=True):
        for name in ("multi-task", "single-task"):
            table = np.array(curves[f"{name}/{task}"])
            axis.plot(table[:, 0], table[:, 1], marker="o", markersize=3, label=name)
        most = axis.get_xlim()[1]
        axis.plot([0, most], [0, most], color="grey", linewidth=0.8)
        axis.set(title=task, xlabel="predicted", ylabel="came true")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--plot", type=Path, help="where the reliability of the first seed is drawn")
    parser.add_argument("--size", type=int, default=1_000, help="products of the demo shop")
    parser.add_argument("--shoppers", type=int, default=300)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3, help="each has its own shop, shoppers and networks")
    parser.add_argument("--first-seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    runs, curves = [], []
    for seed in tqdm(range(arguments.first_seed, arguments.first_seed + arguments.seeds), desc="seeds"):
        lists = simulated_lists(arguments.size, arguments.shoppers, arguments.days, seed)
        figures, curve = one_seed(lists, arguments.epochs, seed)
        runs.append(figures)
        curves.append(curve)
    report = {part: summed_up([run[part] for run in runs]) for part in runs[0]}
    print_tables(report)
    if arguments.plot:
        draw(arguments.plot, curves[0])
    settings = {name: value for name, value in vars(arguments).items() if isinstance(value, int)}
    written = {"settings": settings, **report, "runs": runs, "reliability": curves}
    arguments.out.write_text(json.dumps(written, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
