"""Leave-one-out through the gateway's `Recommend`, beside baselines on the same split.

    python -m benchmarks.recommend_quality --sequences S --items I --out R.json [--seed 0] [--users N]
        [--spacing-days 1 14] [--rows NAME …]

S: asin_sequence_chronological (item ids separated by spaces), optionally user. I: asin, and any of keywords, brand,
categories. The last item of each user with three items or more is the test; it is never in the log, and nothing is
chosen on it.

Kairos is a suite that `kairos up`, `kairos catalog import`, `kairos events import` and `kairos train` have set up, and
nothing else. A product's title is its keywords, or its id if it has none.
Brand and categories are those of I. The events are purchases --spacing-days
apart, the last one as long before the run; a second number is a second column. `Recommend` returns 10 items for a
user; an item that is not among them is a miss. The next pages up to 200 give the recall of the candidates. Rows beside
the default: without diversification, and a catalogue of ids without texts.

The settings of each baseline are chosen on the validation (the item before the test item); then it is fitted on all
that Kairos knows. All items that are not in the history are ranked, and equal scores rank before the target.

HR@10, NDCG@10 and candidate recall@200 with 95 % intervals by the bootstrap over users; Kairos − baseline is paired.
R.json also keeps the ranks by user, so that a later run continues with the missing rows. A plot goes beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.baselines.data import Histories, IntArray, Split, leave_one_out, read_histories
from benchmarks.recommend_offline import baselines, measured
from benchmarks.recommend_report import KAIROS, plot, show, summary
from benchmarks.recommend_suite import (
    PLAIN,
    Shop,
    catalogue,
    purchases,
    ranks_of,
    running,
    settle,
    titles,
    users_and_items,
)
from benchmarks.results import Results
from services.common.serving_configuration import DEFAULT_PLACEMENT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; a plot goes beside it (.png)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, help="measure on a random sample; the log keeps all users")
    parser.add_argument("--spacing-days", type=int, nargs="+", default=[1], help="days between events, one suite each")
    parser.add_argument("--threads", type=int, default=1, help="of the baselines")
    parser.add_argument("--work", type=Path, help="keep the suites here; a later run does not set them up again")
    parser.add_argument("--train-minutes", type=float, help="of `kairos train`; default: its own")
    parser.add_argument("--rows", nargs="+", default=[""], help="only rows whose name contains one of these")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    histories = read_histories(arguments.sequences, arguments.items)
    split = leave_one_out(histories)
    users = sampled(split, arguments.users, arguments.seed)
    files = {path.name: _digest(path) for path in (arguments.sequences, arguments.items)}
    results = Results(arguments.out, {"files": files, "seed": arguments.seed, "users": len(users)})
    with threadpool_limits(arguments.threads):
        for name, fitted in baselines(histories, split, arguments.seed, arguments.threads).items():
            if _is_wanted(name, arguments.rows):
                results.part(name, partial(measured, name, fitted, split, users))
    with _folder(arguments.work) as work:
        for shop in shops(histories, arguments.spacing_days, work):
            measure_shop(shop, histories, split, users, results, arguments)
    title = f"Leave-one-out: {len(users):,} users, all {histories.item_count:,} items"
    found = summary(results.parts, KAIROS, arguments.seed)
    show(title, found, results.parts, KAIROS)
    plot(title, found, arguments.out.with_suffix(".png"))
    arguments.out.with_suffix(".summary.json").write_text(json.dumps({"settings": files, **found}, indent=1) + "\n")
    return 0


@dataclass(frozen=True)
class Measured:
    """A shop, and its rows: name, placement, and whether `kairos train` runs before it."""

    shop: Shop
    with_texts: bool
    spacing_days: int
    rows: Sequence[tuple[str, str, bool]]


def shops(histories: Histories, spacings: Sequence[int], work: Path) -> list[Measured]:
    found = []
    for number, spacing in enumerate(spacings):
        own = KAIROS if number == 0 else f"{KAIROS}, {spacing} days apart"
        rows = [(own, DEFAULT_PLACEMENT, True), (f"{own}, without diversification", PLAIN, True)]
        if number == 0:
            rows.insert(0, (f"{own}, before training", DEFAULT_PLACEMENT, False))
        found.append(Measured(Shop(work / f"{spacing}-days"), True, spacing, rows))
    if titles(histories) != list(histories.item_ids):
        rows = [(f"{KAIROS}, ids only", DEFAULT_PLACEMENT, True)]
        found.append(Measured(Shop(work / "ids-only"), False, spacings[0], rows))
    return found


def measure_shop(
    measured: Measured, histories: Histories, split: Split, users: IntArray, results: Results, options: Namespace
) -> None:
    """Sets the suite up and measures the rows that are wanted and missing."""
    missing = [row for row in measured.rows if row[0] not in results.parts and _is_wanted(row[0], options.rows)]
    if not missing:
        return
    shop, pairs = measured.shop, users_and_items(histories, split, users)
    if not shop.events.is_file():
        shop.write(catalogue(histories, measured.with_texts), purchases(histories, split, measured.spacing_days))
    for name, placement, is_trained in missing:
        if not shop.is_set_up(is_trained):
            with running(shop) as target:
                shop.kairos(target, "catalog", "import", str(shop.products))
                shop.kairos(target, "events", "import", str(shop.events))
                settle(target, pairs[1])
                if is_trained:
                    shop.train(target, options.seed, options.train_minutes)
        # What a row shows would be "shown without a click" in the next one: each has a copy of the state.
        with shop.copied() as copy, running(copy) as target:
            results.part(name, partial(_row, shop, target, pairs, placement, name))


def _row(shop: Shop, target: str, pairs: tuple[list[str], list[str]], placement: str, name: str) -> dict[str, Any]:
    row = ranks_of(target, *pairs, placement, name)
    return {**row, "report": {**row["report"], "setup": shop.costs}}


@contextlib.contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    """`work`, which stays, or a temporary folder."""
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="kairos-recommend-") as name:
        yield Path(name)


def sampled(split: Split, users: int | None, seed: int) -> IntArray:
    """Rows of the test: all, or `users` of them at random, in order."""
    chosen = np.random.default_rng(seed).permutation(len(split.test_targets))[:users]
    return np.sort(chosen)


def _is_wanted(name: str, parts: Sequence[str]) -> bool:
    return any(part.lower() in name.lower() for part in parts)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
