"""What the parts of the shopper model are worth: one fit for each, on each person's newest event.

    python -m benchmarks.shopper_ablations --out R.json [--sequences S --items I] [--image-model DIR] [--minutes 10]

S: asin_sequence_chronological (item ids separated by spaces); I: asin, keywords. The last item of each sequence is left
out entirely: it is the test of `benchmarks.recommend_quality`. Titles are the keywords, or the id.

Without S and I, the demo shop with simulated shoppers, whose products also have prices and pictures. The rows of
pictures need an image encoder (`kairos train --only pictures`). A price is read relative to the category
(services/query_encoder/domain/relative_price.py). All rows have the same seed. HR@10, NDCG@10 and recall@200 with 95 %
intervals; R.json keeps finished rows, so that a later run continues.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from catalog.products import image_path, read_catalogue
from demo.catalogue import build_catalogue, write_catalogue
from demo.pictures import write_pictures
from demo.shoppers import build_shoppers, simulate_events
from services.common.arrays import FloatArray
from services.query_encoder.adapters.onnx_image_encoder import OnnxImageEncoder
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.relative_price import FEATURES, PriceBook
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from services.ranker.domain.event import Event, EventType
from training.pictures.data import read_picture
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.evaluation import quality, ranks
from training.shopper.settings import TrainSettings
from training.shopper.train import choose
from training.shopper.windows import Windows

_BATCH = 64
# Of the demo shop.
_PRODUCTS, _SHOPPERS, _DAYS = 1_000, 600, 30


@dataclass(frozen=True)
class Variant:
    """What one row reads; `network` are fields of NetworkSettings."""

    text: bool = True
    image: bool = False
    price: bool = False
    network: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Shop:
    log: ShopperLog
    catalogue: Catalogue
    prices: FloatArray | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sequences", type=Path)
    parser.add_argument("--items", type=Path)
    parser.add_argument("--image-model", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each fit at most")
    parser.add_argument("--epochs", type=int, default=TrainSettings.epochs)
    parser.add_argument("--rows", nargs="+", default=[""], help="only rows whose name contains one of these")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if (arguments.sequences is None) != (arguments.items is None):
        parser.error("--sequences and --items go together")
    shop = (
        sequences_of(arguments.sequences, arguments.items) if arguments.sequences else demo_shop(arguments.image_model)
    )
    # The first fit has half of the time of a training.
    settings = TrainSettings(minutes=2 * arguments.minutes, epochs=arguments.epochs)
    results = Results(arguments.out, {"products": shop.catalogue.size, "events": len(shop.log), **asdict(settings)})
    for name, variant in variants(shop).items():
        if any(part in name for part in arguments.rows):
            results.part(name, partial(row, name, shop, variant, settings))
    show(results.parts)
    return 0


def variants(shop: Shop) -> dict[str, Variant]:
    found = {
        "ids and text": Variant(),
        "ids only": Variant(text=False, network={"uses_map": False}),
        "text only (no ids)": Variant(network={"uses_ids": False}),
        "ids and text, two blocks": Variant(network={"blocks": 2}),
        "ids and text, ages not read": Variant(network={"age_dropout": 1.0}),
    }
    if shop.catalogue.image is not None:
        found["ids, text and picture"] = Variant(image=True)
    if shop.prices is not None:
        found["ids, text and relative price"] = Variant(price=True)
    return found


def row(name: str, shop: Shop, variant: Variant, settings: TrainSettings) -> dict[str, Any]:
    network = replace(settings.network, **(variant.network or {}))
    parts = [shop.catalogue.image if variant.image else None, shop.prices if variant.price else None]
    known = [part for part in parts if part is not None]
    of = replace(
        shop.catalogue,
        text=shop.catalogue.text if variant.text else None,
        image=np.concatenate(known, axis=1) if known else None,
    )
    with tempfile.TemporaryDirectory() as folder, tqdm(desc=name, unit=" steps", mininterval=2) as bar:

        def progress(stage: str, done: int, total: int, note: str) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str(note)

        found = choose(shop.log, of, replace(settings, network=network), Path(folder), progress)
    placed = ranks(found.model.scorer(Windows(shop.log, of.size)), shop.log, found.validation)
    return {**asdict(quality(placed)), "epochs": found.epochs, "seconds": found.seconds, "curve": list(found.curve)}


def sequences_of(sequences: Path, items: Path) -> Shop:
    titles = {each["asin"]: each.get("keywords") or each["asin"] for each in _rows(items)}
    row_of: dict[str, int] = {}
    read = [
        np.array([row_of.setdefault(item, len(row_of)) for item in each["asin_sequence_chronological"].split()])
        for each in _rows(sequences)
    ]
    log = ShopperLog.of_sequences([own[:-1] if len(own) >= 3 else own for own in read], end_s=1.7e9)
    texts = [titles.get(item) or item for item in row_of]
    text, version = embedded(texts)
    return Shop(log, Catalogue(list(row_of), text, titles=texts, vector_version=version))


def demo_shop(image_model: Path | None) -> Shop:
    made = build_catalogue(size=_PRODUCTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_catalogue(folder / "catalogue.jsonl.gz", made)
        products = list(read_catalogue(folder / "catalogue.jsonl.gz"))
        image = None
        if image_model is not None:
            write_pictures(folder / "images", made)
            image = pictured(OnnxImageEncoder(image_model, 1), [image_path(each, folder) for each in products])
    text, version = embedded([product_text(each) for each in products])
    of = Catalogue([each.id for each in products], text, image, vector_version=version)
    book = PriceBook.of(products)
    prices = np.array([_or_zeros(book.features(each)) for each in products], np.float32)
    events = [
        Event(
            each.event_id, each.user_id, each.session_id, each.item_id, EventType(each.type), each.time.timestamp(),
            query=each.query,
        )
        for each in simulate_events(build_shoppers(made, _SHOPPERS), made, _DAYS)
    ]  # fmt: skip
    return Shop(ShopperLog.of(events, of.ids), of, prices)


def embedded(texts: list[str]) -> tuple[FloatArray, str]:
    """(vectors by the served encoder, its version)."""
    settings = QueryEncoderSettings()
    encoder = build_encoder(settings, settings.threads)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found = np.zeros((len(texts), encoder.dimensions), np.float32)
    for start in tqdm(range(0, len(order), _BATCH), desc="embedding", unit=" batches", mininterval=2):
        at = order[start : start + _BATCH]
        found[at] = encoder.encode([texts[row] for row in at], settings.max_product_tokens, "product")
    return found, encoder.model_version


def pictured(encoder: OnnxImageEncoder, paths: list[Path | None]) -> FloatArray:
    """Zeros for a product without a picture."""
    found: dict[int, FloatArray] = {}
    for at, path in enumerate(tqdm(paths, desc="pictures", unit=" pictures", mininterval=2)):
        pixels = None if path is None else read_picture(path, encoder.preprocessing)
        if pixels is not None:
            found[at] = encoder.encode([pixels])[0]
    width = len(next(iter(found.values())))
    return np.array([found.get(at, np.zeros(width)) for at in range(len(paths))], np.float32)


def show(parts: Mapping[str, Any]) -> None:
    table = Table("", "HR@10", "NDCG@10", "recall@200", "epochs", "s", title="Each person's newest event")
    for name, found in parts.items():
        figures = [
            f"{found[key]:.4f} ({low:.4f} to {high:.4f})"
            for key in ("hit_rate", "ndcg")
            for low, high in [found[f"{key}_interval"]]
        ]
        table.add_row(name, *figures, f"{found['recall']:.4f}", str(found["epochs"]), f"{found['seconds']:.0f}")
    Console().print(table)


def _or_zeros(features: FloatArray | None) -> FloatArray:
    return np.zeros(FEATURES, np.float32) if features is None else features


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    sys.exit(main())
