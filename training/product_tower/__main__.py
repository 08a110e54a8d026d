"""`python -m training.product_tower --catalog FILE --events FILE --registry DIR`: trains a new version of the tower.

Products that one shopper clicked, carted or bought on one shelf belong together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from cli.imports import event_of
from cli.mapping import RowRefused
from cli.rows import read_rows
from kairos.common.v1 import event_pb2
from services.common.product import Product
from services.query_encoder.domain.relative_price import PriceBook
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder, build_picture_encoder
from training.catalogue import read_catalogue
from training.product_tower.model import save_tower
from training.product_tower.parts import parts_of
from training.product_tower.train import TowerTraining, pairs_of, train

CHOSEN = (event_pb2.EVENT_TYPE_CLICK, event_pb2.EVENT_TYPE_CART, event_pb2.EVENT_TYPE_PURCHASE)
# Of one shopper on one shelf.
_PAIRS = 60


def main(
    catalog: Annotated[Path, typer.Option(help="As of `kairos catalog import`.")],
    events: Annotated[Path, typer.Option(help="As of `kairos events import`.")],
    registry: Annotated[Path, typer.Option(help="The tower becomes DIR/product_tower/<next version>.")],
    images: Annotated[Path | None, typer.Option(help="Folder that image_uri is relative to.")] = None,
    picture_model: Annotated[Path | None, typer.Option(help="As `python -m training.pictures` writes it.")] = None,
    map: Annotated[str, typer.Option(help="As of `kairos catalog import`.")] = "",
    steps: int = TowerTraining.steps,
    seed: int = TowerTraining.seed,
    threads: int = 1,
) -> None:
    if (images is None) != (picture_model is None):
        raise typer.BadParameter("--images and --picture-model go together; give both or none")
    torch.set_num_threads(threads)
    products = read_catalogue(catalog, map)
    pairs = pairs_of(chosen_together(products, events), _PAIRS, seed)
    if not len(pairs):
        raise typer.BadParameter(f"{events} holds no shopper who chose two products of the catalogue on one shelf")
    settings = QueryEncoderSettings(picture_model_dir=picture_model)
    prices = PriceBook.of(products)
    encoder, eye = build_encoder(settings, threads), build_picture_encoder(settings)
    tower, report = train(
        parts_of(products, prices, encoder, eye, images), pairs, TowerTraining(steps=steps, seed=seed)
    )
    report |= {"text_model": encoder.model_version, "picture_model": eye.model_version if eye else ""}
    print(save_tower(registry, tower, prices, report))


def chosen_together(products: Sequence[Product], events: Path) -> list[list[int]]:
    """Rows of products by shopper and shelf."""
    rows = {product.id: row for row, product in enumerate(products)}
    baskets: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for line in tqdm(read_rows(events), desc=events.name, unit=" events", mininterval=2):
        try:
            event = event_of(line.values)
        except RowRefused:
            continue
        if event.type in CHOSEN and event.item_id in rows:
            row = rows[event.item_id]
            baskets[event.user_id, products[row].category].append(row)
    return list(baskets.values())


if __name__ == "__main__":
    typer.run(main)
