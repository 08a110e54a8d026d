"""`python -m training.ranking --out DIR`: trains a ranker network on the log of a shop's ranker.

It first trains on the oldest four fifths of the pages and compares the network with the weighted sum on the rest. Then
it trains on all pages and writes the version.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.common.arrays import FloatArray
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.settings import RankerSettings, WeightSettings
from services.ranker.wiring import build_store
from training.ranking.constraints import Constraints
from training.ranking.examples import TASKS, Examples
from training.ranking.learnable import OBJECTIVE, LearnableRanker
from training.ranking.metrics import auc, calibration_error, ndcg
from training.ranking.network import NetworkSettings
from training.ranking.reading import WINDOW_S, ExampleReader
from training.ranking.training import Training

_TRAINED = 0.8
# With fewer pages, a network of a hundred thousand parameters overfits.
_LEAST_PAGES = 500


def main(
    out: Annotated[Path, typer.Option(help="The version's folder. It must not exist.")],
    data: Annotated[Path, typer.Option(help="Where the ranker keeps its SQLite file.")] = Path("var/ranker"),
    redis_url: Annotated[str, typer.Option(help="The ranker's Redis, in place of --data.")] = "",
    tenant: str = "default",
    window_hours: Annotated[float, typer.Option(help="Later events are no outcome of a page.", min=0.01)] = (
        WINDOW_S / 3_600
    ),
    start: Annotated[Path | None, typer.Option(help="A version to continue from, instead of random weights.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    least: Annotated[int, typer.Option(help="The least number of pages.", min=2)] = _LEAST_PAGES,
    constraints: Annotated[
        Path | None, typer.Option(help="Exposure of groups, as `kairos fairness constraints` writes it.")
    ] = None,
    seed: int = 0,
) -> None:
    try:
        bounds = None if constraints is None else Constraints.load(constraints)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--constraints") from None
    if out.exists():
        raise typer.BadParameter(f"{out} exists; name a new folder", param_hint="--out")
    store = build_store(RankerSettings(store="redis" if redis_url else "sqlite", data_dir=data, redis_url=redis_url))
    reader = ExampleReader(store, tenant, window_s=window_hours * 3_600)
    examples = reader.read(time.time())
    store.close()
    if examples.page_count < least or not examples.click.any():
        raise typer.BadParameter(
            f"the log holds {examples.page_count} pages whose {window_hours:g} hours are over, with "
            f"{int(examples.click.sum())} clicks; training needs at least {least} pages"
        )

    def trained(of: Examples) -> LearnableRanker:
        fresh = LearnableRanker(NetworkSettings(of.dimensions), Training(), reader.vector_version, seed)
        ranker = fresh if start is None else LearnableRanker.load(start)
        if (ranker.vector_version, ranker.settings.dimensions) != (reader.vector_version, of.dimensions):
            raise typer.BadParameter(
                f"{start} knows vectors of {ranker.vector_version!r}, the log has those of {reader.vector_version!r}"
            )
        ranker.update(of, epochs, seed, quiet=False, constraints=bounds)
        return ranker

    by_time = np.argsort(examples.shown_s, kind="stable")
    split = round(len(by_time) * _TRAINED)
    report(trained(examples.take(by_time[:split])), examples.take(by_time[split:]))
    trained(examples).save(out)
    print(out)


def report(ranker: LearnableRanker, held: Examples) -> None:
    """Prints the metrics of the network and of the weighted sum on held-back pages."""
    shown = ranker.predict_as_shown(held)
    # The gains are the objective's values, which the order should maximise.
    gains = OBJECTIVE.score({task: getattr(held, task) for task in TASKS}, np.full(len(held), -1.0))
    orders = {
        "network": ranker.order(held), "weighted sum": weighted_sum(held),
        "as it was shown": -held.positions.astype(np.float32),
    }  # fmt: skip
    table = Table("", "NDCG@10", title=f"{held.page_count} pages held back")
    for name, scores in orders.items():
        table.add_row(name, f"{ndcg(held.page, scores, gains):.4f}")
    Console(stderr=True).print(table)
    table = Table("", "AUC", "calibration error", "share")
    for task in TASKS:
        labels = getattr(held, task)
        error = calibration_error(labels, shown[task])
        table.add_row(task, f"{auc(labels, shown[task]):.4f}", f"{error:.4f}", f"{labels.mean():.4f}")
    Console(stderr=True).print(table)


def weighted_sum(examples: Examples) -> FloatArray:
    """The suite's scoring function, computed from the features."""
    weights = WeightSettings()
    column = {name: examples.numbers[:, at] for at, name in enumerate(CANDIDATE_NUMBERS)}
    total: FloatArray = (
        weights.query * column["query_match"] + weights.history * column["history_match"]
        + weights.price * column["price_affinity"] + weights.popularity * column["popularity"]
        - weights.availability * column["out_of_stock"]
        + weights.shopper * column["shopper_match"] + weights.neighbours * column["neighbour_match"]
    )  # fmt: skip
    return total


if __name__ == "__main__":
    typer.run(main)
