"""Personalised product search: the item that a shopper bought after a query, among all items.

    python -m benchmarks.personal_search --data DIR --out R.json

DIR: query_text.txt.gz, train.qrels.gz, test.qrels.gz and items.tsv.gz, the form in which HEM (Ai et al., SIGIR 2017)
is measured. Whatever is learned or chosen comes from purchases held out of train in the way test was cut: hidden
purchases after queries that train does not know. Test only measures. What a shopper bought in train stands at the end
of each ranking, whoever made it; equal scores count against the item sought.

"ours": candidates by words, labels and meaning (vectors of the served encoder); then a listwise network of the form
that retrieval serves, over these, popularity, what is bought together, brands, and the ranker's own similarity to the
history. It is offline: no service ranks by it yet. "query only" is the same without the shopper, "shopper only"
without the query.
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
    by_shopper,
)
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.personal.data import Shop, Split, Wanted, read_shop, share_of_cold
from training.personal.ranking import Knowledge
from training.personal.signals import Encode
from training.personal.train import (
    ALL_FEATURES,
    OF_THE_QUERY,
    PersonalTraining,
    cached,
    know,
    lessons,
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
    """`figures` by name: [pairs, METRICS] in the order of `pairs`; `chosen` on what was held out."""

    figures: Mapping[str, Figures]
    chosen: Mapping[str, object]


def in_order(wanted: Wanted) -> list[tuple[int, int]]:
    """(user, query), those of a query together."""
    return sorted(wanted, key=lambda pair: pair[::-1])


def measure(scorer: Scorer, knowledge: Knowledge, wanted: Wanted, name: str = "") -> Figures:
    found = []
    for user, query in tqdm(in_order(wanted), desc=name, unit=" pairs", disable=not name):
        ranks = np.array(ranks_of(knowledge.new_to(user, scorer(user, query)), wanted[user, query]))
        precision = np.arange(1, len(ranks) + 1) / ranks
        best = (1 / np.log2(np.arange(2, min(len(ranks), DEPTH) + 2))).sum()
        found.append((1 / ranks[0], precision.mean(), (1 / np.log2(ranks[ranks <= DEPTH] + 1)).sum() / best))
    return np.array(found)


def run(shop: Shop, test: Split, encode: Encode, seed: int) -> Measured:
    """Everything but test itself comes from `test.past`."""
    settings = PersonalTraining(seed=seed)
    if share_of_cold(test) == 0:
        # Then the queries asked are known ones, and so are those held out.
        settings = PersonalTraining(cold_share=0.0, seed=seed)
    given, knowledge = lessons(shop, test.past, encode, settings), know(shop, test.past, encode, settings)
    ours, by_epochs = train_ranker(given, ALL_FEATURES, settings)
    query_only, _ = train_ranker(given, OF_THE_QUERY, settings)
    held_out, before = given.splits[-1], given.knowledge[-1]
    rehearsed = LatentSpace(shop, held_out.past, seed)
    by_share = {
        share: float(measure(rehearsed.scorer(share), before, held_out.wanted)[:, 0].mean()) for share in _QUERY_SHARES
    }
    share = max(by_share, key=lambda one: by_share[one])
    scorers: dict[str, Scorer] = {
        "popularity": by_popularity(knowledge),
        MATCHES: by_popularity_of_matches(knowledge),
        "bm25s, brand and categories": by_bm25(shop),
        "latent space (as HEM)": LatentSpace(shop, test.past, seed).scorer(share),
        "shopper only": by_shopper(knowledge),
        QUERY_ONLY: lambda user, query: query_only(knowledge, user, query),
        OURS: lambda user, query: ours(knowledge, user, query),
    }
    figures = {name: measure(scorer, knowledge, test.wanted, name) for name, scorer in scorers.items()}
    return Measured(figures, {"mrr_by_epochs": by_epochs, "latent_mrr_by_query_share": by_share})


def interval(difference: Figures, groups: Sequence[int], seed: int) -> list[float]:
    """95 % of the mean, by the bootstrap over groups: [n] differences and [n] the group of each."""
    _, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, difference), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (2_000, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def compared(ours: Figures, other: Figures, wanted: Wanted, seed: int) -> dict[str, object]:
    """In MRR; pairs of one query share their luck, so the interval over queries is the wider one."""
    difference = ours[:, 0] - other[:, 0]
    return {
        "mrr": round(float(difference.mean()), 4),
        "interval_95_over_pairs": interval(difference, range(len(difference)), seed),
        "interval_95_over_queries": interval(difference, [query for _, query in in_order(wanted)], seed),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, default=3, help="how many times all is trained and measured")
    parser.add_argument("--without", choices=("brand", "categories"), nargs="*", default=[], help="columns to ignore")
    arguments = parser.parse_args()
    began = time.monotonic()
    shop, test = read_shop(arguments.data, arguments.without)
    if not test.wanted:
        parser.error(f"{arguments.data}/test.qrels.gz asks for nothing")
    settings = QueryEncoderSettings()
    encode = cached(build_encoder(settings, settings.threads), settings.max_query_tokens)
    runs = [run(shop, test, encode, arguments.seed + number) for number in range(arguments.seeds)]
    figures = {name: np.mean([one.figures[name] for one in runs], axis=0) for name in runs[0].figures}
    by_seed = {name: [round(float(one.figures[name][:, 0].mean()), 4) for one in runs] for name in figures}
    queries = {query for _, query in test.wanted}
    table = Table(title=f"{len(test.wanted):,} pairs of {len(queries)} queries, {len(shop.item_ids):,} items")
    for heading in ("", *METRICS, "mrr by seed"):
        table.add_column(heading, justify="right" if heading else "left")
    means = {name: dict(zip(METRICS, found.mean(0).round(4).tolist(), strict=True)) for name, found in figures.items()}
    for name, of in means.items():
        table.add_row(name, *(f"{of[metric]:.4f}" for metric in METRICS), str(by_seed[name]))
    table.add_row("HEM as published", *(f"{HEM[metric]:.3f}" for metric in METRICS), "words of reviews")
    Console(width=120).print(table)
    against = {
        name: compared(figures[OURS], found, test.wanted, arguments.seed)
        for name, found in figures.items()
        if name != OURS
    }
    for name in (MATCHES, QUERY_ONLY):
        print(f"{OURS} − {name}: {against[name]}")
    report = {
        "pairs": len(test.wanted),
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
