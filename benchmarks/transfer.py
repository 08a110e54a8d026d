"""Transfer: an encoder trained on another catalogue as the start of training, beside the embedded encoder.

    python -m benchmarks.transfer --source-products SP --source-judgements SJ --products P --judgements J --out R.json
        [--self-supervised] [--sizes 25 0] [--steps 100]

On samples of both catalogues. The source's encoder is trained for --source-steps, or --source names one. The target's
encoders are trained on the same queries with the same hard negatives, seed and number of steps, from the embedded
encoder ("fresh") and from the source's ("transferred"). --sizes are numbers of the target's training queries; 0: all.
With --self-supervised, the training queries are generated from titles, and all queries of J measure; otherwise half of
J's queries train and the other half measures.

NDCG@10 and recall@100 over the sample, as in `benchmarks.search_quality`: "dense" ranks by exact cosines of the served
encoder (int8), "fused" by reciprocal rank fusion (k 60) of that ranking and bm25s's. Files: product_uid, product_title;
search_term, product_uid, relevance. `benchmarks.transfer_data` converts public data sets.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.search_quality import Figures, Ranking, bm25s_rankings, figures_of, interval
from catalog.products import read_catalogue
from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder, embedded_model_dir
from training.search.catalogue import CANDIDATES, NEGATIVE_RANKS
from training.search.data import NOT_WRONG, Judgements, read_judgements, relevant_pairs, split
from training.search.encoder import Examples, train_encoder
from training.search.settings import EncoderTraining
from training.search.start import read_start
from training.search.title_queries import title_judgements

_RRF = 60
# No time limit: the number of steps must not depend on other load.
_MINUTES = 1e6
FRESH, TRANSFERRED = "fresh", "transferred"


@dataclass(frozen=True)
class Domain:
    """A sample of a catalogue: products, and judged queries whose judged products are all in it."""

    products: Sequence[Product]
    judgements: Judgements

    def texts(self) -> dict[str, str]:
        return {product.id: product_text(product) for product in self.products}


@dataclass(frozen=True)
class TrainingPlan:
    """The part of a training that is equal for both starts."""

    steps: int
    batch: int
    seed: int


@dataclass(frozen=True)
class Arm:
    """One encoder measured on the target, after training on `queries` of the target's queries."""

    start: str
    queries: int
    dense: Figures
    fused: Figures


def sampled(products: Path, mapping: str, judgements: Judgements, size: int, seed: int) -> Domain:
    """Random queries with all of their judged products while `size` allows, filled up with other products."""
    catalogue = {product.id: product for product in read_catalogue(products, mapping)}
    random = np.random.default_rng(seed)
    queries, chosen, kept = list(judgements), dict[str, None](), dict[str, Mapping[str, float]]()
    for index in random.permutation(len(queries)):
        judged = {p: relevance for p, relevance in judgements[queries[index]].items() if p in catalogue}
        if judged and len(chosen.keys() | judged.keys()) <= size:
            chosen |= dict.fromkeys(judged)
            kept[queries[index]] = judged
    rest = [product_id for product_id in catalogue if product_id not in chosen]
    more = [rest[index] for index in random.permutation(len(rest))[: max(0, size - len(chosen))]]
    return Domain([catalogue[product_id] for product_id in (*chosen, *more)], kept)


def training_part(judgements: Judgements, queries: int, pairs: int, seed: int) -> Judgements:
    """The first `queries` in a random order (0: all) with at most `pairs` right answers; the others are NOT_WRONG.

    With one seed, fewer queries are a subset of more queries.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(judgements))[: queries or None]
    names = list(judgements)
    kept = {names[index]: dict(judgements[names[index]]) for index in order}
    right = relevant_pairs(kept, {product_id: "" for judged in kept.values() for product_id in judged})
    for index in random.permutation(len(right))[pairs:]:
        kept[right[index].query][right[index].product_id] = NOT_WRONG
    return kept


def trained(domain: Domain, judgements: Judgements, base_dir: Path, target: Path, plan: TrainingPlan) -> Path:
    """Trains an encoder from `base_dir` and returns its folder, `target`."""
    texts = domain.texts()
    found = bm25s_rankings(texts, list(judgements))
    examples = Examples(judgements, texts, {query: list(ranking[NEGATIVE_RANKS]) for query, ranking in found.items()})
    epochs = max(1, round(plan.steps / max(1, len(examples.pairs()) // plan.batch)))
    settings = EncoderTraining(
        epochs=epochs, batch=plan.batch, hard_negatives=plan.batch // 2, seed=plan.seed, minutes=_MINUTES
    )
    return train_encoder(examples, base_dir, target, settings)


def ranked(texts: Mapping[str, str], queries: Sequence[str], model_dir: Path, cache: Path) -> dict[str, Ranking]:
    """By exact cosines of the served encoder."""
    settings = QueryEncoderSettings(model_dir=model_dir, model_cache_dir=cache)
    encoder = build_encoder(settings, settings.threads)
    products = encoder.encode(list(texts.values()), settings.max_product_tokens, "product")
    vectors = encoder.encode(queries, settings.max_query_tokens, "query")
    ids = np.array(list(texts))
    orders = (np.argsort(-(products @ vector), kind="stable")[:CANDIDATES] for vector in vectors)
    return {query: list(ids[order]) for query, order in zip(queries, orders, strict=True)}


def reciprocal_rank_fusion(one: Ranking, other: Ranking) -> Ranking:
    """With equal weights (Cormack et al., SIGIR 2009)."""
    scores: defaultdict[str, float] = defaultdict(float)
    for ranking in (one, other):
        for rank, product_id in enumerate(ranking):
            scores[product_id] += 1 / (_RRF + rank + 1)
    return sorted(scores, key=lambda product_id: -scores[product_id])


def measure(
    target: Domain,
    pool: Judgements,
    measured: Judgements,
    source: Path,
    sizes: Sequence[int],
    plan: TrainingPlan,
    work: Path,
) -> tuple[Figures, list[Arm]]:
    """(bm25s alone; the encoders, for each number of queries first the fresh and then the transferred start)."""
    texts, queries = target.texts(), list(measured)
    lexical = bm25s_rankings(texts, queries)

    def arm(start: str, count: int, model_dir: Path) -> Arm:
        dense = ranked(texts, queries, model_dir, work)
        fused = {query: reciprocal_rank_fusion(dense[query], lexical[query]) for query in queries}
        return Arm(start, count, figures_of(measured, dense), figures_of(measured, fused))

    starts = {FRESH: embedded_model_dir(), TRANSFERRED: source}
    arms = [arm(start, 0, model_dir) for start, model_dir in starts.items()]
    for size in sizes:
        part = training_part(pool, size, plan.steps * plan.batch, plan.seed)
        for start, base_dir in starts.items():
            arms.append(arm(start, len(part), trained(target, part, base_dir, work / f"{start}-{size}", plan)))
    return figures_of(measured, lexical), arms


def source_encoder(arguments: argparse.Namespace, work: Path) -> Path:
    if arguments.source is not None:
        return read_start(arguments.source).encoder
    judgements = read_judgements(arguments.source_judgements)
    source = sampled(arguments.source_products, arguments.map, judgements, arguments.sample, arguments.seed)
    plan = TrainingPlan(arguments.source_steps, arguments.batch, arguments.seed)
    part = training_part(source.judgements, 0, plan.steps * plan.batch, plan.seed)
    return trained(source, part, embedded_model_dir(), work / "source", plan)


def differences(arms: Sequence[Arm], seed: int) -> list[dict[str, Any]]:
    """Transferred − fresh in NDCG@10, by number of queries."""
    return [
        {
            "queries": ours.queries,
            "ranking": ranking,
            "ndcg@10": round(mine.means()["ndcg@10"] - theirs.means()["ndcg@10"], 4),
            "interval_95": interval(mine, theirs, seed),
        }
        for other, ours in zip(arms[::2], arms[1::2], strict=True)
        for ranking, mine, theirs in (("dense", ours.dense, other.dense), ("fused", ours.fused, other.fused))
    ]


def plot(lexical: Figures, arms: Sequence[Arm], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    for axis, ranking in zip(axes, ("dense", "fused"), strict=True):
        for start in (FRESH, TRANSFERRED):
            of_start = (arm for arm in arms if arm.start == start)
            points = [(str(arm.queries), getattr(arm, ranking).means()["ndcg@10"]) for arm in of_start]
            axis.plot(*zip(*points, strict=True), marker="o", label=start)
        axis.axhline(lexical.means()["ndcg@10"], color="grey", linestyle="--", label="bm25s")
        axis.set(title=ranking, xlabel="training queries", ylabel="NDCG@10")
    axes[0].legend()
    chart.savefig(path)


def report(lexical: Figures, arms: Sequence[Arm], plan: TrainingPlan, queries: int, products: int) -> dict[str, Any]:
    table = Table(title=f"{queries:,} queries, {products:,} products")
    for heading in ("start", "training queries", "dense NDCG@10", "recall@100", "fused NDCG@10", "recall@100"):
        table.add_column(heading, justify="left" if heading == "start" else "right", min_width=8)
    rows = [(arm.start, arm.queries, arm.dense.means(), arm.fused.means()) for arm in arms]
    for start, count, dense, fused in rows:
        table.add_row(start, str(count), *(f"{value:.4f}" for value in (*dense.values(), *fused.values())))
    table.add_row("bm25s", "", "", "", *(f"{value:.4f}" for value in lexical.means().values()))
    Console().print(table)
    gained = differences(arms, plan.seed)
    for row in gained:
        low, high = row["interval_95"]
        print(
            f"transferred − fresh, {row['queries']} queries, {row['ranking']}: "
            f"{row['ndcg@10']:+.4f} NDCG@10 (95 %: {low:+.4f} to {high:+.4f})"
        )
    return {
        "queries": queries,
        "products": products,
        "plan": asdict(plan),
        "bm25s": lexical.means(),
        "arms": [{"start": a, "queries": n, "dense": dense, "fused": fused} for a, n, dense, fused in rows],
        "transferred_minus_fresh": gained,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="as --start of training.search.train, instead of the next two")
    parser.add_argument("--source-products", type=Path)
    parser.add_argument("--source-judgements", type=Path)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--judgements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes; a plot goes beside it (.png)")
    parser.add_argument(
        "--map", default="id=product_uid,title=product_title", help="of both, as for `kairos catalog import`"
    )
    parser.add_argument("--self-supervised", action="store_true", help="train on queries generated from titles")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400, 0], help="training queries; 0: all")
    parser.add_argument("--sample", type=int, default=8_000, help="products of each catalogue")
    parser.add_argument("--source-steps", type=int, default=250)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.source is None and None in (arguments.source_products, arguments.source_judgements):
        parser.error("name --source, or --source-products and --source-judgements")
    torch.set_num_threads(arguments.threads)
    plan = TrainingPlan(arguments.steps, arguments.batch, arguments.seed)
    judgements = read_judgements(arguments.judgements)
    target = sampled(arguments.products, arguments.map, judgements, arguments.sample, plan.seed)
    if arguments.self_supervised:
        pool, measured = title_judgements(target.products, plan.seed), target.judgements
    else:
        pool, measured = split(target.judgements, 0.5, "transfer")
    with tempfile.TemporaryDirectory(prefix="kairos-transfer-") as name:
        work = Path(name)
        lexical, arms = measure(target, pool, measured, source_encoder(arguments, work), arguments.sizes, plan, work)
    found = report(lexical, arms, plan, len(measured), len(target.products))
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    plot(lexical, arms, arguments.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
