"""Leave-one-out through the gateway's `Recommend`, beside baselines on the same split.

    python -m benchmarks.recommend_quality --sequences S --items I --out R.json [--seed 0] [--users N]
        [--spacing-days 1 14] [--rows NAME …]

S: asin_sequence_chronological (item ids separated by spaces), optionally user. I: asin, and any of keywords, brand,
categories. The last item of each user with three items or more is the test; it is never in the log, and nothing is
chosen on it.

Kairos is a suite that `kairos up`, `kairos catalog import`, `kairos events import` and `kairos train` have set up, and
nothing else. A product's title is its keywords, or its id if it has none. The events are purchases --spacing-days
apart, the last one as long before the run; a second number is a second column. `Recommend` returns 10 items for a
user; an item that is not among them is a miss. The next pages up to 200 give the recall of the candidates. Rows beside
the default: without diversification, and a catalogue whose titles are all ids.

The settings of each baseline are chosen on the validation (the item before the test item); then it is fitted on all
that Kairos knows. All items that are not in the history are ranked, and equal scores rank before the target.

HR@10, NDCG@10 and candidate recall@200 with 95 % intervals by the bootstrap over users; Kairos − baseline is paired.
R.json also keeps the ranks by user, so that a later run continues with the rows that are missing. A plot goes beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.baselines.data import IntArray, Split, leave_one_out, read_histories
from benchmarks.recommend_offline import baselines, measured
from benchmarks.recommend_report import KAIROS, plot, show, summary
from benchmarks.results import Results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; a plot goes beside it (.png)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, help="measure on a random sample; the log keeps all users")
    parser.add_argument("--spacing-days", type=int, nargs="+", default=[1], help="days between events, one suite each")
    parser.add_argument("--threads", type=int, default=1, help="of the baselines")
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
                results.part(name, lambda name=name, fitted=fitted: measured(name, fitted, split, users))
    title = f"Leave-one-out: {len(users):,} users, all {histories.item_count:,} items"
    found = summary(results.parts, KAIROS, arguments.seed)
    show(title, found, results.parts, KAIROS)
    plot(title, found, arguments.out.with_suffix(".png"))
    arguments.out.with_suffix(".summary.json").write_text(json.dumps({"settings": files, **found}, indent=1) + "\n")
    return 0


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
