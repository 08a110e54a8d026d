"""Whether a transformer that reads query and title together earns its time as a reranker of the first N results.

    python -m benchmarks.pair_model --products P.csv.gz --judgements J.csv.gz --out R.json \
      [--shop S.csv.gz --shop-map id=upc,title=name]

Of --measured random queries the gateway's first 20 results with default settings are fetched once, and reordered here.
A hash of the query splits them: the pair model (see pair_training) learns from the first part (judged products, and
others among the first 20), weights and small networks from the second, and the third is measured:

- N: the first N by pair score − weight x log(1 + place); the weight is chosen on the second part.
- A network of the fusion's form over what retrieval knows of each of the first results, fitted to the judgements of the
  second part, with and without the pair score as one more feature.
- The same network without the pair score, fitted to the pair scores, or to their mean with the judgements: distilled.

P@5: relevant products among the first five, divided by five, or by the relevant products if these are fewer. With
--shop the same pair model and weight reorder the results of the head queries (see first_results) of another catalogue.
The work folder beside R.json and R.json itself keep what is finished: the same command continues.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.first_results import figures_of, read_rules
from benchmarks.pair_training import (
    FloatArray,
    Group,
    PairModel,
    PairTraining,
    TokenStates,
    WholePair,
    milliseconds,
    pair_scores,
    train_pair_model,
    whole_pairs,
)
from benchmarks.results import Results
from benchmarks.search_quality import Ranking, each
from catalog.products import read_catalogue
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.query_encoder.wiring import embedded_model_dir
from services.retrieval.domain.learned_fusion import fusion_features
from training.bootstrap import mean_interval
from training.search.data import RELEVANT, Judgements, gain, ndcg, read_judgements, split
from training.search.fusion import RankedQuery, train_fusion
from training.search.settings import FusionTraining
from training.search.train import import_products

DEPTHS = (10, 20)
TIMED_DEPTHS, LAYERS = (10, 20, 40), (1, 2, 3, 6)
WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
DEFAULT = "default settings"
_JUDGED, _UNJUDGED = 5, 5
_FIRST = 5
_TIMED = 12
_SAMPLE = 18
# Of all queries; of the known ones those that the pair model learns from.
_KNOWN, _FOR_PAIRS = 0.6, 0.8
_WORD = re.compile(r"\w+")

# Of a query, its results in the served order: product id, cosine, BM25 score.
Served = Mapping[str, Sequence[tuple[str, float, float]]]
Scores = Mapping[str, Sequence[float]]
Orders = Mapping[str, Ranking]
Shares = npt.NDArray[np.floating]


def training_groups(judgements: Judgements, titles: Mapping[str, str], served: Served, seed: int) -> list[Group]:
    """Of each query with a relevant product: judged products, and unjudged ones of the first results."""
    draw = np.random.default_rng(seed)
    groups = []
    for query, found in served.items():
        places = {id: place for place, (id, _, _) in enumerate(found)}
        judged = {id: relevance for id, relevance in judgements[query].items() if id in titles}
        ids = [list(judged)[row] for row in draw.permutation(len(judged))[:_JUDGED]]
        if any(gain(judged[id]) > 0 for id in ids):
            others = [id for id in places if id not in judged]
            ids += [others[row] for row in draw.permutation(len(others))[:_UNJUDGED]]
            groups.append(
                Group(
                    query,
                    [titles[id] for id in ids],
                    np.array([places.get(id, len(found)) for id in ids], np.float32),
                    np.array([gain(judged.get(id, 1.0)) for id in ids], np.float32),
                )
            )
    return groups


def serve(products: Path, mapping: str, queries: Sequence[str], results: Results, folder: Path) -> Served:
    """`folder` keeps the suite's state."""
    folder.mkdir(parents=True, exist_ok=True)
    with in_process_suite(folder) as suite:
        results.part(f"import {folder.name}", lambda: import_products(suite, products, mapping, folder))
        with Connection(suite.gateway_target, timeout_s=60).stub() as stub:

            def search(query: str) -> list[tuple[str, float, float]]:
                request = gateway_pb2.SearchRequest(query=query[:512], page_size=DEPTHS[-1], explain=True)
                answer = stub.Search(request, timeout=60)
                if any(late.fallback != "lexical retrieval" for late in answer.degradations):
                    raise RuntimeError(f"{query!r}: {answer.degradations}")
                return [(one.product.id, one.stage_scores.dense, one.stage_scores.lexical) for one in answer.results]

            return each(queries, folder.name, search)


def reordered(served: Served, scores: Scores, depth: int, weight: float) -> dict[str, Ranking]:
    """The first `depth` by score − weight x log(1 + place), then the others as they were."""
    orders = dict[str, Ranking]()
    for query, found in served.items():
        ids = [id for id, _, _ in found]
        first = np.array(scores[query][:depth]) - weight * np.log1p(np.arange(min(depth, len(ids))))
        orders[query] = [ids[row] for row in np.argsort(-first, kind="stable")] + ids[depth:]
    return orders


def features(query: str, found: Sequence[tuple[str, float, float]], titles: Mapping[str, str]) -> FloatArray:
    """[n, features]: those of the fusion without its feedback, and the logarithm of the place."""
    words = set(_WORD.findall(query.lower()))
    cosines, lexical = np.array([row[1:] for row in found], np.float32).T
    held = [len(words.intersection(_WORD.findall(titles[id].lower()))) for id, _, _ in found]
    coverage = np.array([count / max(len(words), 1) for count in held], np.float32)
    near = np.zeros((len(found), 2), np.float32)
    places = np.log1p(np.arange(len(found), dtype=np.float32))
    return np.column_stack([fusion_features(cosines, lexical, coverage, near, len(words)), places])


def gains_of(judged: Mapping[str, float], found: Sequence[tuple[str, float, float]]) -> FloatArray:
    return np.array([gain(judged.get(id, 1.0)) for id, _, _ in found], np.float32)


def fitted_orders(
    judgements: Judgements, titles: Mapping[str, str], fitted: Served, tested: Served, scores: Scores, seed: int
) -> dict[str, dict[str, Ranking]]:
    """By name of the network: the orders of the tested queries."""

    def inputs(served: Served, with_pair: bool) -> dict[str, FloatArray]:
        plain = {query: features(query, found, titles) for query, found in served.items()}
        if not with_pair:
            return plain
        return {query: np.column_stack([own, np.array(scores[query], np.float32)]) for query, own in plain.items()}

    def judged(query: str) -> Shares:
        gains = gains_of(judgements[query], fitted[query])
        return gains / max(float(gains.sum()), 1e-6)

    def taught(query: str) -> Shares:
        own = np.array(scores[query], np.float32)
        shares: FloatArray = np.exp(own - own.max())
        return shares / float(shares.sum())

    targets: dict[str, tuple[Callable[[str], Shares], bool]] = {
        "judgements": (judged, False),
        "judgements, with the pair score": (judged, True),
        "pair scores (distilled)": (taught, False),
        "judgements and pair scores (distilled)": (lambda query: (judged(query) + taught(query)) / 2, False),
    }
    orders = dict[str, dict[str, Ranking]]()
    for name, (target, with_pair) in targets.items():
        ranked = [
            RankedQuery(own, target(query).astype(np.float32)) for query, own in inputs(fitted, with_pair).items()
        ]
        network = train_fusion(ranked, FusionTraining(seed=seed))
        orders[name] = {
            query: [tested[query][row][0] for row in np.argsort(-network(own), kind="stable")]
            for query, own in inputs(tested, with_pair).items()
        }
    return orders


def mean_ndcg(judgements: Judgements, orders: Orders) -> float:
    return float(np.nanmean([ndcg(order, judgements[query]) for query, order in orders.items()]))


def measured(judgements: Judgements, orders: Mapping[str, Orders]) -> dict[str, dict[str, Any]]:
    """By name: NDCG@10, P@5, and their differences from the first with 95 % intervals."""
    values = {
        name: {
            "ndcg@10": np.array([ndcg(order, judgements[query]) for query, order in own.items()]),
            "p@5": np.array([_precision(order, judgements[query]) for query, order in own.items()]),
        }
        for name, own in orders.items()
    }
    return {name: _compared(own, values[DEFAULT]) for name, own in values.items()}


def _precision(order: Ranking, judged: Mapping[str, float]) -> float:
    relevant = {id for id, relevance in judged.items() if relevance >= RELEVANT}
    exist = min(_FIRST, len(relevant))
    return len(relevant.intersection(order[:_FIRST])) / exist if exist else float("nan")


def _compared(
    own: Mapping[str, npt.NDArray[np.float64]], other: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, Any]:
    return {
        metric: {
            "value": round(float(np.nanmean(values)), 4),
            "difference": round(float(np.nanmean(values - other[metric])), 4),
            "interval_95": mean_interval(values - other[metric], 0),
        }
        for metric, values in own.items()
    }


def shop_figures(
    products: Path,
    mapping: str,
    results: Results,
    folder: Path,
    scored: Callable[[Served, Mapping[str, str]], Scores],
    weight: float,
) -> dict[str, dict[str, Any]]:
    """Head queries of the development half over another catalogue. `scored` gives the pair scores of results."""
    rules = read_rules(Path(__file__).parent / "data" / "head_queries.csv", "development")
    titles = {product.id: product.title for product in read_catalogue(products, mapping)}
    existing = {query: rule.existing(titles.values()) for query, rule in rules.items()}
    served = results.part("served shop", lambda: serve(products, mapping, list(rules), results, folder))
    scores = results.part("pair scores shop", lambda: scored(served, titles))
    orders = {DEFAULT: reordered(served, scores, 0, 0.0)} | {
        f"first {depth}, weight {own:g}": reordered(served, scores, depth, own)
        for depth in DEPTHS
        for own in dict.fromkeys((weight, *WEIGHTS[::3]))
    }
    figures = {name: figures_of(rules, existing, titles, own) for name, own in orders.items()}
    values = {name: {"p@5": own.precision, "first right": own.first} for name, own in figures.items()}
    return {name: _compared(own, values[DEFAULT]) for name, own in values.items()}


def _scores(
    model: PairModel, states: TokenStates, served: Served, titles: Mapping[str, str], name: str
) -> dict[str, list[float]]:
    shown = {query: [titles[id] for id, _, _ in found] for query, found in served.items()}
    return pair_scores(model, states, shown, name)


def costs(titles: Sequence[str], queries: Sequence[str], folder: Path) -> dict[str, float]:
    """Milliseconds of CPU a query by model and titles."""
    base, draw, taken = embedded_model_dir(), random.Random(_SAMPLE), dict[str, float]()
    states = TokenStates(base)
    for depth in TIMED_DEPTHS:
        pairs = [[(query, draw.choice(titles)) for _ in range(depth)] for query in draw.sample(queries, _TIMED)]
        whole = whole_pairs(base, pairs)
        for layers in LAYERS:
            ms = milliseconds(WholePair(base, layers), whole, folder / f"whole-{layers}.onnx")
            taken[f"{layers} layers over the whole pair, {depth} titles"] = round(ms, 1)
        states.read({text for own in pairs for pair in own for text in pair}, "Texts to time")
        late = [(*states.batch([q for q, _ in own]), *states.batch([title for _, title in own])) for own in pairs]
        for layers in (1, 2):
            ms = milliseconds(PairModel(base, layers), late, folder / f"late-{layers}.onnx")
            taken[f"{layers} layers after titles were read, {depth} titles"] = round(ms, 1)
    return taken


def show(title: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table(title=title)
    metrics = list(next(iter(figures.values())))
    for heading in ("", *(text for metric in metrics for text in (metric, "difference"))):
        table.add_column(heading, justify="right" if heading else "left")
    for name, own in figures.items():
        cells = [
            (f"{one['value']:.4f}", "{:+.4f} ({:+.4f} to {:+.4f})".format(one["difference"], *one["interval_95"]))
            for one in own.values()
        ]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    Console(width=140).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--judgements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; the work folder is beside it")
    parser.add_argument("--shop", type=Path, help="a catalogue that the head queries are searched in")
    parser.add_argument("--shop-map", default="id=upc,title=name", help="as for `kairos catalog import`")
    parser.add_argument("--measured", type=int, default=2_000, help="random queries, which the split divides")
    parser.add_argument("--together", type=int, default=PairTraining().together, help="layers that read both texts")
    parser.add_argument("--minutes", type=float, default=PairTraining().minutes, help="of the pair model's training")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    settings = PairTraining(arguments.together, arguments.minutes, seed=arguments.seed)
    folder = arguments.out.with_suffix("").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = {"products": arguments.products, "judgements": arguments.judgements, "shop": arguments.shop}
    names = {name: path.name for name, path in data.items() if path is not None}
    results = Results(arguments.out, names | {"measured": arguments.measured, "training": asdict(settings)})
    judgements = read_judgements(arguments.judgements)
    known, test = split(judgements, _KNOWN, "evaluation")
    for_pairs, for_weights = split(known, _FOR_PAIRS, "fusion")
    titles = {product.id: product.title for product in read_catalogue(arguments.products, arguments.map)}
    taken = results.part("milliseconds", lambda: costs(list(titles.values()), sorted(judgements), folder))
    sample = random.Random(_SAMPLE).sample(sorted(judgements), min(arguments.measured, len(judgements)))
    served: Served = results.part(
        "served", lambda: serve(arguments.products, arguments.map, sample, results, folder / "judged")
    )
    learned, fitted, tested = (
        {query: found for query, found in served.items() if query in part and found}
        for part in (for_pairs, for_weights, test)
    )
    base = embedded_model_dir()
    states = TokenStates(base)

    def model() -> PairModel:
        groups = training_groups(judgements, titles, learned, arguments.seed)
        return train_pair_model(groups, states, base, folder / "pair.checkpoint", settings)

    scores = results.part("pair scores", lambda: _scores(model(), states, fitted | tested, titles, "Pairs"))
    best = {
        depth: max(WEIGHTS, key=lambda weight: mean_ndcg(judgements, reordered(fitted, scores, depth, weight)))
        for depth in DEPTHS
    }
    orders = {DEFAULT: reordered(tested, scores, 0, 0.0)} | {
        f"first {depth}, weight {weight:g}": reordered(tested, scores, depth, weight) for depth, weight in best.items()
    }
    networks = fitted_orders(judgements, titles, fitted, tested, scores, arguments.seed)
    figures = results.part("figures", lambda: measured(judgements, orders | networks))
    results.part("queries", lambda: {"fitted": len(fitted), "tested": len(tested)})
    show(f"{len(tested)} judged queries", figures)
    if arguments.shop is not None:
        shop = results.part(
            "figures shop",
            lambda: shop_figures(
                arguments.shop,
                arguments.shop_map,
                results,
                folder / "shop",
                lambda served, names: _scores(model(), states, served, names, "Pairs of the shop"),
                best[DEPTHS[-1]],
            ),
        )
        show("Head queries of the shop", shop)
    for name, ms in taken.items():
        print(f"{name}: {ms:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
