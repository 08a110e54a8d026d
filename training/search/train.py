"""Trains an encoder and a fusion of a shop's own on a catalogue and judged queries.

    python -m training.search.train --products P.csv.gz --judgements T.csv.gz --out models/search [--start FOLDER]

Four fifths of the queries train the encoder, with hard negatives mined from the product's own retrieval; the others
train the fusion on candidates of the new encoder. Without judgements the encoder is trained on queries generated from
titles, and the fusion is that of the start, or fixed weights. With --start the result of another catalogue is adapted
to this one. After an interruption the same command resumes. The result is a folder named after a digest of data,
settings and start, which a second run reuses. The command prints the settings that serve it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch
from tqdm import tqdm

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from catalog.products import read_catalogue
from catalog.rows import column_names
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.common.context import RequestContext
from services.common.convert import context_to_proto, vectors_from_proto
from services.gateway.domain.lookup_text import lookup_text
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.wiring import embedded_model_dir
from services.retrieval.adapters.fusion_model import save_fusion
from services.retrieval.domain.learned_fusion import FEATURES
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.settings import FusionSettings, RetrievalSettings
from services.retrieval.wiring import build_retriever
from training.search.data import Judgements, gain, read_judgements, split
from training.search.encoder import EncoderTraining, Examples, train_encoder
from training.search.fusion import FusionTraining, RankedQuery, train_fusion
from training.search.on_ray import Workers, train_encoder_on_ray
from training.search.start import Start, read_start
from training.search.title_queries import title_judgements

# Ranks of hard negatives: among the first ranks unjudged right answers are frequent.
NEGATIVE_RANKS = slice(5, 60)
# Candidates of a search, as the gateway asks retrieval for.
CANDIDATES = 200
_TIMEOUT_S = 60.0
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]
TENANT = "default"


@dataclass(frozen=True)
class SearchTraining:
    encoder: EncoderTraining = field(default_factory=EncoderTraining)
    fusion: FusionTraining = field(default_factory=FusionTraining)
    # Share of the queries that train the encoder; the others train the fusion.
    encoder_share: float = 0.8


@dataclass(frozen=True)
class ModelChoice:
    """An encoder other than the embedded one."""

    model_dir: Path
    version: str

    def settings(self) -> dict[str, Any]:
        return {"model_dir": self.model_dir, "model_version": self.version}


@dataclass(frozen=True)
class TrainedSearch:
    """The settings that serve a trained search."""

    model: ModelChoice
    fusion: FusionSettings


@dataclass(frozen=True)
class EncodedQuery:
    text: str
    vector: np.ndarray[Any, np.dtype[np.float32]] | None


def train(
    products: Path,
    mapping: str,
    judgements: Path | None,
    out: Path,
    settings: SearchTraining,
    start: Start | None = None,
    workers: Workers | None = None,
) -> TrainedSearch:
    """`start` None: the embedded encoder; `workers` None: this process alone.

    Raises ValueError if there is nothing to train on.
    """
    name = _digest(products, mapping, judgements, settings, start, workers.count if workers is not None else 1)
    folder = out / name
    trained = TrainedSearch(
        ModelChoice(folder / "encoder", f"kairos-search@{name}"),
        FusionSettings(method="learned", model_dir=folder / "fusion")
        if judgements is not None or (start is not None and start.fusion is not None)
        else FusionSettings(),
    )
    has_fusion = trained.fusion.model_dir is None or (folder / "fusion" / "fusion.json").is_file()
    if trained.model.model_dir.is_dir() and has_fusion:
        tqdm.write(f"{folder} was trained on the same data with the same settings and is reused")
        return trained
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = read_catalogue(products, mapping)
    for_encoder: Judgements
    for_fusion: Judgements
    if judgements is not None:
        for_encoder, for_fusion = split(read_judgements(judgements), settings.encoder_share, "fusion")
    else:
        for_encoder, for_fusion = title_judgements(catalogue, settings.encoder.seed), {}
    if not trained.model.model_dir.is_dir():
        texts = {product.id: product_text(product) for product in catalogue}
        examples = Examples(for_encoder, texts, _mine(products, mapping, list(for_encoder)))
        base_dir = start.encoder if start is not None else embedded_model_dir()
        if workers is None:
            train_encoder(examples, base_dir, trained.model.model_dir, settings.encoder)
        else:
            train_encoder_on_ray(examples, base_dir, trained.model.model_dir, settings.encoder, workers)
    network = start.fusion if start is not None else None
    if judgements is not None:
        ranked = _ranked_queries(products, mapping, for_fusion, trained.model)
        network = train_fusion(ranked, settings.fusion, network)
    if network is not None:
        about = {"settings": asdict(settings), "queries": {"encoder": len(for_encoder), "fusion": len(for_fusion)}}
        save_fusion(network, folder / "fusion.new", about)
        os.rename(folder / "fusion.new", folder / "fusion")
    return trained


def import_products(suite: InProcessSuite, products: Path, mapping: str, folder: Path) -> None:
    columns = parse_mapping(mapping, column_names(products), "USD")
    summary = CatalogImport(Connection(suite.gateway_target), columns, Rejects(folder / "rejects.jsonl")).run(products)
    tqdm.write(f"{summary.imported} products imported, {summary.duplicates} duplicates, {summary.rejected} rejected")


def _mine(products: Path, mapping: str, queries: Sequence[str]) -> dict[str, list[str]]:
    """Hard negatives by query: product ids that lexical retrieval finds."""
    with tempfile.TemporaryDirectory(prefix="kairos-mine-") as name, in_process_suite(Path(name)) as suite:
        import_products(suite, products, mapping, Path(name))
        encoded = _encoded(suite, queries)
        with grpc.insecure_channel(suite.stages_target, _OPTIONS) as channel:
            stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)

            def found(query: str) -> list[str]:
                request = retrieval_pb2.RetrieveCandidatesRequest(
                    context=_context(), text=encoded[query].text, limit=NEGATIVE_RANKS.stop
                )
                return list(stub.RetrieveCandidates(request, timeout=_TIMEOUT_S).candidates.ids)[NEGATIVE_RANKS]

            return dict(zip(queries, _each(found, queries, "Mining negatives"), strict=True))


def _ranked_queries(products: Path, mapping: str, judgements: Judgements, model: ModelChoice) -> list[RankedQuery]:
    """Candidates and features of each query, by the code that serves them."""
    with tempfile.TemporaryDirectory(prefix="kairos-fusion-") as name:
        folder = Path(name)
        with in_process_suite(folder, encoder=model.settings()) as suite:
            import_products(suite, products, mapping, folder)
            encoded = _encoded(suite, list(judgements))
        retriever = build_retriever(RetrievalSettings(data_dir=folder / "retrieval"))
        try:
            ranked: list[RankedQuery] = []
            for query, judged in tqdm(judgements.items(), desc="Candidates", unit=" queries"):
                read = encoded[query]
                asked = RetrievalQuery(read.text, read.vector, limit=CANDIDATES)
                ids, features = retriever.fusion_features(TENANT, asked)
                gains = np.array([gain(judged.get(product_id, 1.0)) for product_id in ids], np.float32)
                ranked.append(RankedQuery(features, gains))
            return ranked
        finally:
            retriever.index.close()


def _encoded(suite: InProcessSuite, queries: Sequence[str]) -> Mapping[str, EncodedQuery]:
    """By query: the text and the vector that the gateway searches with."""
    with grpc.insecure_channel(suite.stages_target, _OPTIONS) as channel:
        stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)

        def encode(query: str) -> EncodedQuery:
            request = encoder_pb2.EncodeQueryRequest(context=_context(), text=query[:512])
            answer = stub.EncodeQuery(request, timeout=_TIMEOUT_S)
            vector = vectors_from_proto(answer.vector, "vector") if answer.HasField("vector") else None
            expansions = [text for concept in answer.concepts for text in concept.expansions]
            return EncodedQuery(lookup_text(answer.retrieval_text, answer.spelling_alternatives, expansions), vector)

        return dict(zip(queries, _each(encode, queries, "Reading queries"), strict=True))


def _each(work: Any, queries: Sequence[str], what: str) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(tqdm(pool.map(work, queries), total=len(queries), desc=what, unit=" queries"))


def _context() -> Any:
    return context_to_proto(RequestContext("training"))


def _digest(
    products: Path, mapping: str, judgements: Path | None, settings: SearchTraining, start: Start | None, workers: int
) -> str:
    digest = hashlib.blake2b(digest_size=6)
    judged = judgements.read_bytes() if judgements is not None else b""
    weights = [file.read_bytes() for file in start.weights] if start is not None else []
    for part in (products.read_bytes(), judged, mapping.encode(), *weights):
        digest.update(hashlib.blake2b(part).digest())
    alone = [asdict(settings), FEATURES]
    digest.update(json.dumps(alone if workers == 1 else [*alone, workers], sort_keys=True).encode())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--judgements", type=Path, help="search_term, product_uid, relevance; none: title queries")
    parser.add_argument("--start", type=Path, help="an encoder's folder, or a result of this command")
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--out", type=Path, default=Path("var/models/search"))
    parser.add_argument(
        "--minutes", type=float, default=EncoderTraining().minutes, help="limit of the encoder's training"
    )
    parser.add_argument("--epochs", type=int, default=EncoderTraining().epochs)
    parser.add_argument("--lora-rank", type=int, default=0, help="0 trains all weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each training process")
    parser.add_argument("--workers", type=int, default=1, help="of Ray Train; 1: this process alone")
    parser.add_argument("--address", default="", help="of the Ray cluster; empty: a local one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = SearchTraining(
        EncoderTraining(
            epochs=arguments.epochs, minutes=arguments.minutes, lora_rank=arguments.lora_rank, seed=arguments.seed
        ),
        FusionTraining(seed=arguments.seed),
    )
    try:
        start = read_start(arguments.start) if arguments.start is not None else None
    except ValueError as error:
        parser.error(str(error))
    workers = Workers(arguments.workers, arguments.threads, arguments.address) if arguments.workers > 1 else None
    trained = train(arguments.products, arguments.map, arguments.judgements, arguments.out, settings, start, workers)
    print(f"Serve it with\n  KAIROS_QUERY_ENCODER_MODEL_DIR={trained.model.model_dir.resolve()}")
    print(f"  KAIROS_QUERY_ENCODER_MODEL_VERSION={trained.model.version}")
    if trained.fusion.model_dir is not None:
        print("  KAIROS_RETRIEVAL_FUSION__METHOD=learned")
        print(f"  KAIROS_RETRIEVAL_FUSION__MODEL_DIR={trained.fusion.model_dir.resolve()}")
    print("A catalogue with vectors of another model is re-embedded as docs/how-to/new-encoder.md describes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
