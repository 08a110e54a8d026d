"""Compares incremental training with nightly retraining and with a frozen model.

    python -m benchmarks.prequential --sequences S --items I --out R.json --plot R.png
    python -m benchmarks.prequential --shop --out R.json --plot R.png

Prequential evaluation (Dawid 1984; Gama, Sebastiao and Rodrigues 2013): three models predict each list before any of
them is trained on it. All three have the same network architecture.

- incremental: is updated several times a day, once on the new lists and once on as many old lists from a bounded
  buffer, as in the learner (`services.learner`). It is never retrained from scratch.
- nightly: is retrained from scratch each night on all lists up to then, and serves the next day unchanged.
- frozen: the nightly model of the first night.

With sequences, a list is the bought item and 49 randomly drawn other items. HR@10 over these 50 items is far higher
than HR@10 over the whole catalogue. The latter is reported for a sample of the last day's purchases, without the items
that the user has already bought, with each model's state at the start of that day. With --shop (simulated), a list is
a list that was shown, a hit is a click among the model's first three items, and the taste of all shoppers changes
half-way.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.prequential_data import (
    CANDIDATES,
    DAY_S,
    DIMENSIONS,
    Sequences,
    lists_before,
    read_sequences,
    sequence_lists,
    turning_shop,
)
from services.common.arrays import FloatArray
from services.learner.buffer import Buffer
from services.ranker.domain.event import Event
from training.ranking.examples import Examples
from training.ranking.guardrail import log_losses
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

MODELS = ("incremental", "nightly", "frozen")
TOP_OF_SEQUENCES, TOP_OF_SHOP = 10, 3
# Sizes of the buffer, in lists: the newest lists, and a uniform sample of all.
_RECENT = _RESERVOIR = 2_000
Rows = npt.NDArray[np.intp]
Figures = dict[str, float]


@dataclass
class Course:
    """Results of one model: the log losses and hits of its lists by day, and its CPU seconds of training."""

    ranker: LearnableRanker
    losses: dict[int, list[float]] = field(default_factory=dict)
    hits: dict[int, list[float]] = field(default_factory=dict)
    learned_s: float = 0.0

    def test(self, day: int, examples: Examples, top: int) -> None:
        r = examples.page_count
        sizes = np.bincount(examples.page, minlength=r)
        each = log_losses(examples, self.ranker.predict_as_shown(examples))
        self.losses.setdefault(day, []).extend(np.bincount(examples.page, each, r) / sizes)
        self.hits.setdefault(day, []).extend(hits(examples, self.ranker.predict(examples)["click"], top))

    def learn(self, work: Callable[[], LearnableRanker]) -> None:
        began = time.process_time()
        self.ranker = work()
        self.learned_s += time.process_time() - began

    def figures(self) -> dict[str, object]:
        """Mean log loss and hit rate over all lists, and by day."""
        days = sorted(self.losses)
        return {
            "log_loss": mean([x for day in days for x in self.losses[day]]),
            "hit_rate": mean([x for day in days for x in self.hits[day]]),
            "learned_cpu_s": round(self.learned_s, 1),
            "by_day": [
                {"day": day, "lists": len(self.losses[day]), "log_loss": mean(self.losses[day]),
                 "hit_rate": mean(self.hits[day])}
                for day in days
            ],
        }  # fmt: skip


def prequential(
    stream: Examples,
    updates_a_day: int,
    epochs: int,
    top: int,
    seed: int,
    before_the_last_day: Callable[[dict[str, Course]], None] = lambda courses: None,
) -> dict[str, Course]:
    """The evaluation starts on the second day. `stream` is in the order of time."""
    day = ((stream.shown_s - stream.shown_s[0]) // DAY_S).astype(int)
    buffer, random = Buffer(_RECENT, _RESERVOIR), np.random.default_rng(seed)
    first = np.flatnonzero(day == 0)
    buffer.add(stream.take(first), first)
    courses = {name: Course(copy.deepcopy(retrained(stream.take(first), epochs, seed))) for name in MODELS}
    for today in tqdm(range(1, day[-1] + 1), desc="days"):
        if today > 1:
            past = stream.take(np.flatnonzero(day < today))
            courses["nightly"].learn(lambda past=past: retrained(past, epochs, seed))  # type: ignore[misc]
        if today == day[-1]:
            before_the_last_day(courses)
        for rows in np.array_split(np.flatnonzero(day == today), updates_a_day):
            if not len(rows):
                continue
            fresh = stream.take(rows)
            for course in courses.values():
                course.test(today, fresh, top)
            batch = Examples.joined([buffer.sample(len(rows), random), fresh])
            live, number = courses["incremental"], seed + int(rows[0])
            live.learn(lambda batch=batch, number=number: trained(live.ranker, batch, number))  # type: ignore[misc]  # noqa: B023
            buffer.add(fresh, rows)
    return courses


def retrained(examples: Examples, epochs: int, seed: int) -> LearnableRanker:
    return trained(LearnableRanker(NetworkSettings(examples.dimensions), seed=seed), examples, seed, epochs)


def trained(ranker: LearnableRanker, examples: Examples, seed: int, epochs: int = 1) -> LearnableRanker:
    ranker.update(examples, epochs, seed)
    return ranker


def hits(examples: Examples, scores: FloatArray, top: int) -> list[float]:
    """For each list 1 if a clicked item is among the best `top`, else 0. In a tie the clicked item comes last."""
    order = np.lexsort((examples.click, -scores, examples.page))
    starts = np.searchsorted(examples.page, np.arange(examples.page_count))
    places = np.arange(len(examples)) - starts[examples.page]
    hit = (examples.click[order] > 0) & (places < top)
    counts: list[float] = np.minimum(np.bincount(examples.page, hit, examples.page_count), 1).tolist()
    return counts


def full_ranking(of: Sequences, courses: dict[str, Course], sample: int, seed: int) -> Figures:
    """HR@10 of each model's current state over all items the user has not bought, for purchases of the last day."""
    days = [int((purchase.occurred_s - of.purchases[0].occurred_s) // DAY_S) for purchase in of.purchases]
    last = [purchase for purchase, day in zip(of.purchases, days, strict=True) if day == days[-1]]
    chosen = [last[row] for row in sorted(np.random.default_rng(seed).permutation(len(last))[:sample])]
    found: dict[str, list[float]] = {name: [] for name in courses}

    def candidates_of(purchase: Event, before: Set[str]) -> list[str]:
        own = purchase.item_id
        return [own, *(item_id for item_id in of.items if item_id != own and item_id not in before)]

    for page in tqdm(lists_before(of, chosen, candidates_of), "full ranking", len(chosen)):
        examples = Examples.of([page], DIMENSIONS)
        for name, course in courses.items():
            found[name] += hits(examples, course.ranker.predict(examples)["click"], TOP_OF_SEQUENCES)
    return {name: mean(values) for name, values in found.items()} | {"purchases": len(chosen)}


def mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 4)


def plot(courses: dict[str, Course], path: Path, hit_name: str) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4))
    for name, course in courses.items():
        days = sorted(course.losses)
        axes[0].plot(days, [mean(course.losses[day]) for day in days], marker=".", label=name)
        axes[1].plot(days, [mean(course.hits[day]) for day in days], marker=".", label=name)
    for axis, title in zip(axes, ("log loss", hit_name), strict=True):
        axis.set_title(title)
        axis.set_xlabel("day")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, help="CSV: user, items, optional timestamps")
    parser.add_argument("--items", type=Path, help="CSV: asin, keywords, brand, categories")
    parser.add_argument("--shop", action="store_true", help="the simulated shop instead")
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--plot", type=Path, help="path of the plot")
    parser.add_argument("--users", type=int, default=3_000, help="randomly drawn users of the sequences; 0: all")
    parser.add_argument("--products", type=int, default=1_000, help="of the shop")
    parser.add_argument("--shoppers", type=int, default=400, help="of the shop")
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--updates", type=int, default=4, help="a day, of the incremental model")
    parser.add_argument("--epochs", type=int, default=2, help="of a training from scratch")
    parser.add_argument("--full", type=int, default=100, help="purchases that are ranked among all items; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.shop == (arguments.sequences is not None and arguments.items is not None):
        parser.error("name --sequences and --items, or --shop")
    days, seed = arguments.days, arguments.seed
    report: dict[str, object] = {"seed": seed, "days": days, "updates_a_day": arguments.updates}
    if arguments.shop:
        stream, top = turning_shop(arguments.products, arguments.shoppers, days, seed), TOP_OF_SHOP
        report |= {"turns_on_day": days // 2}
    else:
        of = read_sequences(arguments.sequences, arguments.items, arguments.users, days, seed)
        stream, top = sequence_lists(of, seed), TOP_OF_SEQUENCES
        report |= {"candidates": CANDIDATES}
    full: Figures = {}

    def rank_all(courses: dict[str, Course]) -> None:
        if not arguments.shop and arguments.full:
            full.update(full_ranking(of, courses, arguments.full, seed))

    courses = prequential(stream, arguments.updates, arguments.epochs, top, seed, rank_all)
    report |= {"lists": stream.page_count, "top": top} | {name: c.figures() for name, c in courses.items()}
    if full:
        report["full_ranking_hr_10"] = full
    table = Table("model", "log loss", f"hit@{top}", "learned, CPU s", title=f"{stream.page_count:,} lists")
    for name, course in courses.items():
        found = course.figures()
        table.add_row(name, *(str(found[key]) for key in ("log_loss", "hit_rate", "learned_cpu_s")))
    Console().print(table)
    if arguments.plot:
        plot(courses, arguments.plot, f"hit@{top}")
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
