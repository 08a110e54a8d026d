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
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from catalog.products import read_catalogue
from catalog.rows import column_names
from ops.client import Connection
from ops.in_process import InProcessSuite
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.wiring import embedded_model_dir
from services.retrieval.adapters.fusion_model import save_fusion
from services.retrieval.domain.learned_fusion import FEATURES, FusionNetwork
from services.retrieval.settings import FusionSettings
from training.search.catalogue import ModelChoice, SearchedCatalogue, TrainedSearch, configured_search
from training.search.data import Judgements, gain, read_judgements, split
from training.search.encoder import Examples, train_encoder
from training.search.fusion import RankedQuery, train_fusion
from training.search.on_ray import Workers, train_encoder_on_ray
from training.search.settings import EncoderTraining, FusionTraining, SearchTraining
from training.search.start import Start, read_start
from training.search.title_queries import title_judgements


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
    encoder = folder / "encoder"
    model = ModelChoice(encoder, f"kairos-search@{name}")
    trained = TrainedSearch(
        model,
        FusionSettings(method="learned", model_dir=folder / "fusion")
        if judgements is not None or (start is not None and start.fusion is not None)
        else FusionSettings(),
    )
    has_fusion = trained.fusion.model_dir is None or (folder / "fusion" / "fusion.json").is_file()
    if encoder.is_dir() and has_fusion:
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
    network = start.fusion if start is not None else None
    with tempfile.TemporaryDirectory(prefix="kairos-search-") as states:
        searched = SearchedCatalogue(catalogue, Path(states))
        base_dir = start.encoder if start is not None else embedded_model_dir()
        fit_encoder(searched, for_encoder, base_dir, encoder, settings.encoder, configured_search(), workers)
        if judgements is not None:
            network = fit_fusion(searched, for_fusion, model, settings.fusion, network)
    if network is not None:
        about = {"settings": asdict(settings), "queries": {"encoder": len(for_encoder), "fusion": len(for_fusion)}}
        save_fusion(network, folder / "fusion.new", about)
        os.rename(folder / "fusion.new", folder / "fusion")
    return trained


def fit_encoder(
    catalogue: SearchedCatalogue, judgements: Judgements, base_dir: Path, target: Path, settings: EncoderTraining,
    miner: TrainedSearch, workers: Workers | None = None,
) -> None:  # fmt: skip
    """Writes the encoder to `target`, unless it is there. `miner` finds the hard negatives."""
    if target.is_dir():
        return
    texts = {product.id: product_text(product) for product in catalogue.products}
    examples = Examples(judgements, texts, catalogue.negatives(miner, list(judgements)))
    if workers is None:
        train_encoder(examples, base_dir, target, settings)
    else:
        train_encoder_on_ray(examples, base_dir, target, settings, workers)


def fit_fusion(
    catalogue: SearchedCatalogue, judgements: Judgements, model: ModelChoice, settings: FusionTraining,
    start: FusionNetwork | None = None,
) -> FusionNetwork:  # fmt: skip
    """On candidates of the encoder, for queries that it was not trained on."""
    ranked = []
    for query, ids, features in catalogue.fusion_features(model, list(judgements)):
        judged = judgements[query]
        ranked.append(
            RankedQuery(features, np.array([gain(judged.get(product_id, 1.0)) for product_id in ids], np.float32))
        )
    return train_fusion(ranked, settings, start)


def import_products(suite: InProcessSuite, products: Path, mapping: str, folder: Path) -> None:
    columns = parse_mapping(mapping, column_names(products), "USD")
    summary = CatalogImport(Connection(suite.gateway_target), columns, Rejects(folder / "rejects.jsonl")).run(products)
    tqdm.write(f"{summary.imported} products imported, {summary.duplicates} duplicates, {summary.rejected} rejected")


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
    assert trained.model.model_dir is not None
    print(f"Serve it with\n  KAIROS_QUERY_ENCODER_MODEL_DIR={trained.model.model_dir.resolve()}")
    print(f"  KAIROS_QUERY_ENCODER_MODEL_VERSION={trained.model.version}")
    if trained.fusion.model_dir is not None:
        print("  KAIROS_RETRIEVAL_FUSION__METHOD=learned")
        print(f"  KAIROS_RETRIEVAL_FUSION__MODEL_DIR={trained.fusion.model_dir.resolve()}")
    print("A catalogue with vectors of another model is re-embedded as docs/how-to/new-encoder.md describes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
