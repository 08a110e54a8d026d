"""Measures one multi-task ranker network against one network per task, and the effect of position debiasing.

    python -m benchmarks.multitask --out R.json --plot R.png

The data are lists of the demo shop's simulated shoppers (`demo.shoppers`): the first four fifths of the lists are the
training set, the last fifth is the test set. AUC, calibration error (ECE, 15 bins) and log loss compare predictions, at
the position where an item was shown, with the shopper's interactions. The simulator also knows the true utilities.
Predicted click probabilities, all at the first position, are compared with them: by the rank correlation with the true
utility within each list, and by the AUC against unbiased clicks, which are simulated with no effect of the position.

The orders are compared by NDCG@10 against those unbiased clicks: the network, the baselines, and LightGBM's LambdaMART
on the same features (without the vectors) with its own correction for positions. The order by true utility is the upper
bound.
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
from services.ranker.domain.weighted_sum import weighted_sum
from services.ranker.domain.weights import Weights
from services.ranker.settings import ObjectiveSettings, WeightSettings
from training.ranking.examples import TASKS, Examples
from training.ranking.learnable import LearnableRanker
from training.ranking.metrics import auc, calibration_error, log_loss, mean_rank_correlation, ndcg, reliability
from training.ranking.network import NetworkSettings
from training.ranking.training import Training

TREES = 300
TRAIN_SHARE = 0.8
Predictions = dict[str, FloatArray]
Figures = dict[str, dict[str, float]]


def predictions(
    train: Examples,
    test: Examples,
    tasks: Sequence[str],
    debias: Literal["tower", "weights", "none"],
    epochs: int,
    seed: int,
) -> tuple[Predictions, Predictions]:
    """Predictions (at the shown positions, at the first position) of one network for the tasks."""
    settings = NetworkSettings(test.dimensions, tuple(tasks), chained=len(tasks) > 1)
    ranker = LearnableRanker(settings, Training(debias=debias), seed=seed)
    ranker.update(train, epochs, seed, quiet=False)
    return ranker.predict_as_shown(test), ranker.predict(test)


def networks(train: Examples, test: Examples, epochs: int, seed: int) -> dict[str, tuple[Predictions, Predictions]]:
    learn = partial(predictions, train, test, epochs=epochs, seed=seed)
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


def of_tasks(test: Examples, shown: Predictions) -> Figures:
    return {
        task: {
            "auc": auc(getattr(test, task), shown[task]),
            "ece": calibration_error(getattr(test, task), shown[task]),
            "log_loss": log_loss(getattr(test, task), shown[task]),
        }
        for task in TASKS
    }


def of_truth(test: SimulatedLists, scores: FloatArray) -> dict[str, float]:
    page = test.examples.page
    return {
        "rank_correlation": mean_rank_correlation(page, scores, test.wanted),
        "auc": auc(test.unbiased, scores),
        "ndcg": ndcg(page, scores, test.unbiased),
    }


def baselines() -> Mapping[str, Ranker]:
    weights = Weights(**WeightSettings().model_dump())
    return {
        "shuffle": by_shuffle, "popularity": by_popularity, "retrieval order": by_retrieval,
        "nearest to the mean": by_nearest_to_mean, "weighted sum": partial(weighted_sum, weights=weights),
    }  # fmt: skip


def lambdamart(train: Examples, test: Examples, seed: int) -> FloatArray:
    """Scores of a LambdaMART model that is trained to order purchases above carts above clicks."""

    def features(of: Examples) -> FloatArray:
        return np.hstack([of.numbers, of.context[of.page]])

    data = lightgbm.Dataset(
        features(train), train.click + train.cart + train.purchase, group=np.bincount(train.page),
        position=train.positions,
    )  # fmt: skip
    settings = {
        "objective": "lambdarank", "learning_rate": 0.05, "num_leaves": 31, "seed": seed, "num_threads": 1,
        "deterministic": True, "verbose": -1,
    }  # fmt: skip
    scores: FloatArray = np.asarray(lightgbm.train(settings, data, TREES).predict(features(test)), np.float32)
    return scores


def orders(train: Examples, test: SimulatedLists, found: Predictions, seed: int) -> dict[str, FloatArray]:
    """Scores [n] of each ordering method."""
    objective = Objective(**ObjectiveSettings().model_dump())
    made = {name: _scored(ranker, test) for name, ranker in baselines().items()}
    return made | {
        "as it was shown": -test.examples.positions.astype(np.float32),
        "LambdaMART": lambdamart(train, test.examples, seed),
        "network": objective.score(found, np.full(len(test.examples), -1.0, np.float32)),
        "network, clicks": found["click"],
        "truth": test.wanted,
    }


def _scored(ranker: Ranker, test: SimulatedLists) -> FloatArray:
    scores: FloatArray = np.concatenate([ranker(request).total for request in test.requests])
    return scores


def one_seed(lists: SimulatedLists, epochs: int, seed: int) -> tuple[dict[str, Figures], dict[str, list[list[float]]]]:
    count = lists.examples.page_count
    split = round(count * TRAIN_SHARE)
    train = lists.examples.take(np.arange(split))
    test = lists.take(np.arange(split, count))
    found = networks(train, test.examples, epochs, seed)
    tasks = {name: of_tasks(test.examples, shown) for name, (shown, _) in found.items()}
    truth = {name: of_truth(test, still["click"]) for name, (_, still) in found.items()}
    order = {name: of_truth(test, scores) for name, scores in orders(train, test, found["multi-task"][1], seed).items()}
    curves = {
        f"{name}/{task}": reliability(getattr(test.examples, task), found[name][0][task]).tolist()
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
        "tasks": "predictions against interactions", "truth": "p(click) at the first position against true utility",
        "order": "orders against unbiased clicks",
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
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--plot", type=Path, help="path of the reliability plot of the first seed")
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
