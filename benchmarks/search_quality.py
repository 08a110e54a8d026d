"""Search quality against human judgements: the product with default settings, its legs, their fusion, and bm25s.

    python -m benchmarks.search_quality [--train T.csv.gz] --products P.csv.gz --judgements J.csv.gz --out R.json

With T, encoder and fusion are first trained on T alone (a finished training is reused); "dense" and "hybrid" remain
those of the embedded encoder.

P: product_uid, product_title, and other columns that `--map` names. J: search_term, product_uid, relevance (1 to 3, the
mean of raters). NDCG@10 over the whole catalogue with gains 2^(relevance − 1) − 1, and 0 for unjudged products;
recall@100 of products with a relevance of 2.33 or more. Queries without a relevant product do not count.

All rows come from one run over the same import. "kairos" is the gateway's Search for an unknown shopper, with spelling
correction, fusion and ranker. The other rows search for the query as typed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import bm25s
import grpc
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import Stemmer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import column_names, read_rows
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from ops.in_process import InProcessSuite, in_process_suite
from services.common.context import RequestContext
from services.common.convert import context_to_proto, vectors_to_proto
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from services.retrieval.settings import FusionSettings
from training.bootstrap import mean_interval
from training.search.catalogue import CANDIDATES, TrainedSearch
from training.search.data import RELEVANT, Judgements, ndcg, read_judgements
from training.search.settings import EncoderTraining, SearchTraining
from training.search.train import import_products, train

RECALL_DEPTH = 100
_TIMEOUT_S = 60.0
_IN_FLIGHT = 2
# Reciprocal rank fusion with equal weights, which needs no data (Cormack et al., SIGIR 2009).
HYBRID = FusionSettings(method="rrf", dense_weight=0.5, lexical_weight=0.5, rrf_k=60)
BM25S, BM25, DENSE, RRF, KAIROS = "bm25s (peer)", "bm25", "dense", "hybrid (rrf 60)", "kairos"
TRAINED = "kairos, trained"

# Product ids, best first.
Ranking = Sequence[str]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Figures:
    """By query, in the order of the judgements; NaN for a query without a relevant product."""

    ndcg: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]

    def means(self) -> dict[str, float]:
        return {
            "ndcg@10": round(float(np.nanmean(self.ndcg)), 4),
            "recall@100": round(float(np.nanmean(self.recall)), 4),
        }


def figures_of(judgements: Judgements, rankings: Mapping[str, Ranking]) -> Figures:
    return Figures(
        np.array([ndcg(rankings[query], judged) for query, judged in judgements.items()]),
        np.array([recall(rankings[query], judged) for query, judged in judgements.items()]),
    )


def recall(ranking: Ranking, judged: Mapping[str, float], depth: int = RECALL_DEPTH) -> float:
    relevant = {product_id for product_id, relevance in judged.items() if relevance >= RELEVANT}
    return len(relevant.intersection(ranking[:depth])) / len(relevant) if relevant else float("nan")


def each(queries: Sequence[str], name: str, found_for: Callable[[str], Found]) -> dict[str, Found]:
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        found = list(tqdm(pool.map(found_for, queries), total=len(queries), desc=name, unit=" queries"))
    return dict(zip(queries, found, strict=True))


def by_gateway(
    suite: InProcessSuite, queries: Sequence[str], name: str, page_size: int = RECALL_DEPTH
) -> dict[str, Ranking]:
    """Raises RuntimeError if a stage was late or failed: such figures would not be the product's."""
    with grpc.insecure_channel(suite.gateway_target, [("grpc.max_receive_message_length", 16 << 20)]) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)

        def search(query: str) -> Ranking:
            request = gateway_pb2.SearchRequest(query=query[:512], page_size=page_size)
            answer = stub.Search(request, timeout=_TIMEOUT_S)
            if any(degradation.fallback != "lexical retrieval" for degradation in answer.degradations):
                raise RuntimeError(f"{query!r}: {answer.degradations}")
            return [result.product.id for result in answer.results]

        return each(queries, name, search)


def by_retrieval(
    suite: InProcessSuite,
    queries: Sequence[str],
    name: str,
    vectors: Mapping[str, npt.NDArray[np.float32]],
    lexical: bool,
) -> dict[str, Ranking]:
    """Candidates of retrieval: of the lexical leg, of the dense leg, or of both."""
    context = context_to_proto(RequestContext("search_quality"))
    version = QueryEncoderSettings().model_version
    with grpc.insecure_channel(suite.stages_target, [("grpc.max_receive_message_length", 64 << 20)]) as channel:
        stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)

        def retrieve(query: str) -> Ranking:
            request = retrieval_pb2.RetrieveCandidatesRequest(context=context, limit=CANDIDATES)
            if lexical:
                request.text = query[:512]
            if query in vectors:
                request.query_vectors.CopyFrom(vectors_to_proto(vectors[query][np.newaxis], version))
            return list(stub.RetrieveCandidates(request, timeout=_TIMEOUT_S).candidates.ids)

        return each(queries, name, retrieve)


def by_bm25s(path: Path, mapping: str, queries: Sequence[str]) -> dict[str, Ranking]:
    """bm25s over all mapped text."""
    columns_of, names = mapping_for(path, parse_mapping(mapping, column_names(path), "USD"))
    columns = columns_of.columns_of(names)
    (id_column,) = columns["id"]
    sources = [column for field, names in columns.items() if field != "id" for column in names]
    rows = {row.values[id_column]: row.values for row in read_rows(path) if not row.problem}
    texts = {id: " ".join(str(values.get(source) or "") for source in sources) for id, values in rows.items()}
    return bm25s_rankings(texts, queries)


def bm25s_rankings(texts: Mapping[str, str], queries: Sequence[str]) -> dict[str, Ranking]:
    """Lù, 2024: Lucene's BM25 with an English stemmer and stop words, k1 1.5, b 0.75. `texts` by product id."""
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(
        bm25s.tokenize(list(texts.values()), stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False
    )
    tokens = bm25s.tokenize(list(queries), stopwords="en", stemmer=stemmer, show_progress=False)
    ids = np.array(list(texts))
    found, _ = index.retrieve(tokens, corpus=ids, k=min(CANDIDATES, len(ids)), show_progress=False)
    return {query: list(row) for query, row in zip(queries, found, strict=True)}


def query_vectors(queries: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of the served encoder; queries without a known token are missing."""
    settings = QueryEncoderSettings()
    encoder = build_encoder(settings, settings.threads)
    found = encoder.encode(queries, settings.max_query_tokens, "query")
    return {query: vector for query, vector in zip(queries, found, strict=True) if vector.any()}


def interval(ours: Figures, other: Figures, seed: int) -> tuple[float, float]:
    """95 % interval of the difference in NDCG@10, by the paired bootstrap over queries."""
    return mean_interval(ours.ndcg - other.ndcg, seed)


def measure(
    products: Path, mapping: str, judgements: Judgements, trained: TrainedSearch | None, folder: Path
) -> dict[str, Figures]:
    queries = list(judgements)
    embedded = folder / "embedded"
    embedded.mkdir()
    with in_process_suite(embedded) as suite:
        import_products(suite, products, mapping, embedded)
        vectors = query_vectors(queries)
        rankings = {
            BM25S: by_bm25s(products, mapping, queries),
            BM25: by_retrieval(suite, queries, BM25, {}, lexical=True),
            DENSE: by_retrieval(suite, queries, DENSE, vectors, lexical=False),
        }
        with_defaults = by_gateway(suite, queries, KAIROS)
    with in_process_suite(embedded, HYBRID) as suite:
        rankings[RRF] = by_retrieval(suite, queries, RRF, vectors, lexical=True)
    rankings[KAIROS] = with_defaults
    if trained is not None:
        learned = folder / "learned"
        learned.mkdir()
        with in_process_suite(learned, trained.fusion, trained.model.settings()) as suite:
            import_products(suite, products, mapping, learned)
            rankings[TRAINED] = by_gateway(suite, queries, TRAINED)
    return {name: figures_of(judgements, found) for name, found in rankings.items()}


def plot(figures: Mapping[str, Figures], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    for axis, metric in ((left, "ndcg@10"), (right, "recall@100")):
        values = [found.means()[metric] for found in figures.values()]
        axis.bar_label(axis.barh(list(figures), values), fmt="%.3f", padding=3)
        axis.set(title=metric, xlim=(0, max(values) * 1.2))
        axis.invert_yaxis()
    chart.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--judgements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; a plot goes beside it (.png)")
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--train", type=Path, help="judgements to train on, with the same columns")
    parser.add_argument(
        "--minutes", type=float, default=EncoderTraining().minutes, help="limit of the encoder's training"
    )
    parser.add_argument("--models", type=Path, default=Path("var/models/search"), help="folder of trained models")
    parser.add_argument("--seed", type=int, default=0, help="of the training and the bootstrap")
    arguments = parser.parse_args()
    judgements = read_judgements(arguments.judgements)
    if not judgements:
        parser.error(f"{arguments.judgements} has no query")
    trained = None
    if arguments.train is not None:
        settings = SearchTraining(EncoderTraining(minutes=arguments.minutes, seed=arguments.seed))
        trained = train(arguments.products, arguments.map, arguments.train, arguments.models, settings)
    with tempfile.TemporaryDirectory(prefix="kairos-quality-") as folder:
        figures = measure(arguments.products, arguments.map, judgements, trained, Path(folder))
    product = KAIROS if trained is None else TRAINED
    best = max((BM25, DENSE, RRF), key=lambda name: figures[name].means()["ndcg@10"])
    low, high = interval(figures[product], figures[best], arguments.seed)
    table = Table(title=f"{len(judgements):,} queries, whole catalogue")
    for heading in ("", "NDCG@10", "recall@100"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in figures.items():
        means = found.means()
        table.add_row(name, f"{means['ndcg@10']:.4f}", f"{means['recall@100']:.4f}")
    Console().print(table)
    more = round(figures[product].means()["ndcg@10"] - figures[best].means()["ndcg@10"], 4)
    print(f"{product} − {best}: {more:+.4f} NDCG@10 (95 %: {low:+.4f} to {high:+.4f})")
    report = {
        "queries": len(judgements),
        "seed": arguments.seed,
        "figures": {name: found.means() for name, found in figures.items()},
        "product_minus_best": {"product": product, "best": best, "ndcg@10": more, "interval_95": [low, high]},
    }
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    plot(figures, arguments.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
