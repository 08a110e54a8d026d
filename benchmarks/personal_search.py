"""Personalised product search: the rank of the item that a user bought after a query, among all items.

    python -m benchmarks.personal_search --data DIR --out R.json

DIR: query_text.txt.gz, train.qrels.gz, test.qrels.gz and items.tsv.gz, the format in which HEM (Ai et al., SIGIR 2017)
is evaluated. Parameters and settings are fitted on purchases held out of train in the way of the test: hidden purchases
after queries that the remaining train does not contain. The test only measures. Every ranking ends with the items that
the user bought in train; items with equal scores rank before the target.

"ours": candidates by words, labels and dense vectors of the served encoder, then a listwise network of the form that
retrieval serves, over these features, popularity, co-purchases, brands and the ranker's `history_match`. No service
ranks by it yet. "query only" is the same without the user's features; "user only" ranks by co-purchases and popularity,
without the query.

The figures are specific to these data: queries are made of the words of category paths, which are also labels of the
items. HEM, which read reviews instead of categories, is no comparable baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.personal_peers import (
    LatentSpace,
    Scorer,
    by_bm25,
    by_popularity,
    by_popularity_of_matches,
    by_user,
)
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.personal.data import Shop, Split, Targets, read_shop, share_of_cold
from training.personal.ranking import PersonalFeatures
from training.personal.signals import Encode
from training.personal.train import (
    ALL_COLUMNS,
    QUERY_COLUMNS,
    PersonalTraining,
    cached,
    compute_features,
    held_out_splits,
    ranks_of,
    train_ranker,
)

HEM = {"mrr": 0.124, "map": 0.124, "ndcg@100": 0.153}
DEPTH = 100
_QUERY_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
OURS, QUERY_ONLY, MATCHES = "ours", "query only", "popularity of matches"
METRICS = ("mrr", "map", "ndcg@100")

Figures = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """`figures` by name: [pairs, METRICS], pairs as in `ordered`; `chosen`: settings fitted on held-out purchases."""

    figures: Mapping[str, Figures]
    chosen: Mapping[str, object]


def ordered(targets: Targets) -> list[tuple[int, int]]:
    """(user, query), grouped by query."""
    return sorted(targets, key=lambda pair: pair[::-1])


def measure(scorer: Scorer, features: PersonalFeatures, targets: Targets, name: str = "") -> Figures:
    found = []
    for user, query in tqdm(ordered(targets), desc=name, unit=" pairs", disable=not name):
        ranks = np.array(ranks_of(features.bought_last(user, scorer(user, query)), targets[user, query]))
        precision = np.arange(1, len(ranks) + 1) / ranks
        best = (1 / np.log2(np.arange(2, min(len(ranks), DEPTH) + 2))).sum()
        found.append((1 / ranks[0], precision.mean(), (1 / np.log2(ranks[ranks <= DEPTH] + 1)).sum() / best))
    return np.array(found)


def run(shop: Shop, test: Split, encode: Encode, seed: int) -> Measured:
    """Trains on `test.past` alone and measures on `test.targets`."""
    settings = PersonalTraining(seed=seed)
    if share_of_cold(test) == 0:
        # All test queries occur in train, and so shall the held-out ones.
        settings = PersonalTraining(cold_share=0.0, seed=seed)
    held_out = held_out_splits(shop, test.past, encode, settings)
    features = compute_features(shop, test.past, encode, settings)
    ours, by_epochs = train_ranker(held_out, ALL_COLUMNS, settings)
    query_only, _ = train_ranker(held_out, QUERY_COLUMNS, settings)
    validation, before = held_out.splits[-1], held_out.features[-1]
    latent = LatentSpace(shop, validation.past, seed)
    by_share = {
        share: float(measure(latent.scorer(share), before, validation.targets)[:, 0].mean()) for share in _QUERY_SHARES
    }
    share = max(by_share, key=lambda one: by_share[one])
    scorers: dict[str, Scorer] = {
        "popularity": by_popularity(features),
        MATCHES: by_popularity_of_matches(features),
        "bm25s, brand and categories": by_bm25(shop),
        "latent space (as HEM)": LatentSpace(shop, test.past, seed).scorer(share),
        "user only": by_user(features),
        QUERY_ONLY: lambda user, query: query_only(features, user, query),
        OURS: lambda user, query: ours(features, user, query),
    }
    figures = {name: measure(scorer, features, test.targets, name) for name, scorer in scorers.items()}
    return Measured(figures, {"mrr_by_epochs": by_epochs, "latent_mrr_by_query_share": by_share})


def interval(difference: Figures, groups: Sequence[int], seed: int) -> list[float]:
    """95 % interval of the mean of `difference` [n], by the bootstrap over `groups` [n]."""
    _, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, difference), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (2_000, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def compared(ours: Figures, other: Figures, targets: Targets, seed: int) -> dict[str, object]:
    """Difference in MRR. Pairs of one query are correlated, so the interval over queries is the wider one."""
    difference = ours[:, 0] - other[:, 0]
    return {
        "mrr": round(float(difference.mean()), 4),
        "interval_95_over_pairs": interval(difference, range(len(difference)), seed),
        "interval_95_over_queries": interval(difference, [query for _, query in ordered(targets)], seed),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings and measurements")
    parser.add_argument("--without", choices=("brand", "categories"), nargs="*", default=[], help="columns to ignore")
    arguments = parser.parse_args()
    began = time.monotonic()
    shop, test = read_shop(arguments.data, arguments.without)
    if not test.targets:
        parser.error(f"{arguments.data}/test.qrels.gz is empty")
    settings = QueryEncoderSettings()
    encode = cached(build_encoder(settings, settings.threads), settings.max_query_tokens)
    runs = [run(shop, test, encode, arguments.seed + number) for number in range(arguments.seeds)]
    figures = {name: np.mean([one.figures[name] for one in runs], axis=0) for name in runs[0].figures}
    by_seed = {name: [round(float(one.figures[name][:, 0].mean()), 4) for one in runs] for name in figures}
    queries = {query for _, query in test.targets}
    table = Table(title=f"{len(test.targets):,} pairs of {len(queries)} queries, {len(shop.item_ids):,} items")
    for heading in ("", *METRICS, "mrr by seed"):
        table.add_column(heading, justify="right" if heading else "left")
    means = {name: dict(zip(METRICS, found.mean(0).round(4).tolist(), strict=True)) for name, found in figures.items()}
    for name, of in means.items():
        table.add_row(name, *(f"{of[metric]:.4f}" for metric in METRICS), str(by_seed[name]))
    table.add_row("HEM as published", *(f"{HEM[metric]:.3f}" for metric in METRICS), "words of reviews")
    Console(width=120).print(table)
    against = {
        name: compared(figures[OURS], found, test.targets, arguments.seed)
        for name, found in figures.items()
        if name != OURS
    }
    for name in (MATCHES, QUERY_ONLY):
        print(f"{OURS} − {name}: {against[name]}")
    report = {
        "pairs": len(test.targets),
        "queries": len(queries),
        "share_of_queries_not_in_train": round(share_of_cold(test), 3),
        "items": len(shop.item_ids),
        "without": arguments.without,
        "seeds": [arguments.seed + number for number in range(arguments.seeds)],
        "figures": means,
        "mrr_by_seed": by_seed,
        "ours_minus": against,
        "chosen": [one.chosen for one in runs],
        "seconds": round(time.monotonic() - began),
    }
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
