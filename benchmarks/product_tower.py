"""The product tower on the demo shop: text, picture and relative price together beside each alone.

    python -m benchmarks.product_tower --out R.json [--registry DIR]

A fifth of the products is held out. The picture model is trained on the others' pictures by category; the towers are
trained on what simulated shoppers clicked among the others. Then each held-out product looks among the held-out ones
for what the same people like: of other shoppers, whose tastes (shelf, brand, colour, price) are known, the correlation
of the two products' utilities is the gain of NDCG@10. A second, plainer task: products of the same leaf category and
the same third of its prices (mAP).

Beside the whole tower stand towers trained in the same way on one part and on two, the text encoder's own vectors and
the plain concatenation without any training, and an order by chance. `without …` is a whole one where every product
lacks that part.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from demo.catalogue import DemoProduct, build_catalogue
from demo.pictures import draw
from demo.shoppers import build_shoppers, simulate_events, true_utility
from services.common.money import Money
from services.common.product import Product
from services.query_encoder.domain.picture import Preprocessing
from services.query_encoder.domain.relative_price import PriceBook
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.pictures.data import LabelledPictures
from training.pictures.model import PictureVectors, embed, new_network
from training.pictures.train import PictureTraining
from training.pictures.train import train as train_pictures
from training.product_tower.model import PARTS, ProductParts, concatenation, save_tower
from training.product_tower.parts import price_features, text_vectors
from training.product_tower.train import TowerTraining, pairs_of, train

DEPTH = 10
HELD_OUT = 0.2
# Of one shopper's clicks.
PAIRS = 60
WHOLE = "text ⊕ picture ⊕ price"
_TOWERS = {
    WHOLE: PARTS,
    "text ⊕ picture": ("text", "picture"),
    "text ⊕ price": ("text", "price"),
    "picture ⊕ price": ("picture", "price"),
    "text alone": ("text",),
    "picture alone": ("picture",),
    "price alone": ("price",),
}
_UNTRAINED, _PLAIN, _CHANCE = "text encoder as it comes", "plain concatenation", "by chance"

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shop:
    products: list[DemoProduct]
    parts: ProductParts
    prices: PriceBook
    # Rows of the products.
    seen: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """One number for each held-out product."""

    taste: npt.NDArray[np.float64]
    segment: npt.NDArray[np.float64]

    def means(self) -> dict[str, float]:
        return {
            "taste_ndcg@10": round(float(self.taste.mean()), 4),
            "segment_map": round(float(np.nanmean(self.segment)), 4),
        }


def read_shop(size: int, seed: int, picture_epochs: int) -> Shop:
    products = build_catalogue(seed, size)
    order = np.random.default_rng(seed).permutation(len(products))
    cut = int(len(products) * HELD_OUT)
    held, seen = np.sort(order[:cut]), np.sort(order[cut:])
    ours = [_product(product) for product in products]
    prices = PriceBook.of(ours[row] for row in seen)
    settings = QueryEncoderSettings()
    text = text_vectors(ours, build_encoder(settings, settings.threads))
    picture = _picture_vectors(products, seen, picture_epochs, seed)
    price, _ = price_features(ours, prices)
    parts = ProductParts(text, picture, price, np.ones((len(products), len(PARTS)), bool))
    return Shop(products, parts, prices, seen, held)


def _product(product: DemoProduct) -> Product:
    return Product(
        product.id, product.title, description=product.description, brand=product.brand,
        category_path=product.category_path, attributes=product.attributes,
        price=Money(product.currency, product.price),
    )  # fmt: skip


def _picture_vectors(products: Sequence[DemoProduct], seen: npt.NDArray[np.int64], epochs: int, seed: int) -> Vectors:
    """Of a network that has seen the pictures of `seen` with their categories."""
    preprocessing = Preprocessing.of(new_network(seed)[1])
    drawn = tqdm(products, desc="pictures", unit=" pictures")
    pixels = np.stack(
        [preprocessing.scaled(Image.open(io.BytesIO(draw(each_one))).convert("RGB")) for each_one in drawn]
    )
    names = sorted({product.category_path for product in products})
    labels = np.array([names.index(products[row].category_path) for row in seen], np.int64)
    labelled = LabelledPictures(pixels[seen], labels, tuple(" > ".join(name) for name in names))
    trained = train_pictures(labelled, PictureTraining(epochs=epochs, seed=seed))
    return embed(PictureVectors(trained.network), preprocessing, pixels)


def _plain(parts: ProductParts) -> Vectors:
    vectors: Vectors = torch.nn.functional.normalize(concatenation(*parts.tensors()), dim=-1).numpy()
    return vectors


def clicked_together(shop: Shop, shoppers: int, days: int, seed: int) -> npt.NDArray[np.int64]:
    """Pairs of seen products of one shelf that one shopper clicked, as places in `shop.seen`; shape [n, 2]."""
    place = {shop.products[row].id: at for at, row in enumerate(shop.seen)}
    shelf = {product.id: product.category_path for product in shop.products}
    baskets: defaultdict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    events = simulate_events(build_shoppers(shop.products, shoppers, seed), shop.products, days, seed)
    for event in tqdm(events, desc="events", unit=" events", mininterval=2):
        if event.item_id in place and event.type == "click":
            baskets[event.user_id, shelf[event.item_id]].append(place[event.item_id])
    return pairs_of(list(baskets.values()), PAIRS, seed)


def likeness_of_tastes(shop: Shop, shoppers: int, seed: int) -> npt.NDArray[np.float64]:
    """Between held-out products: over shoppers of another seed, the correlation of what they are worth to each."""
    held = [shop.products[row] for row in shop.held]
    people = build_shoppers(shop.products, shoppers, seed + 1)
    worth = np.array([[true_utility(person, product) for product in held] for person in tqdm(people, desc="tastes")])
    # What everybody likes says nothing about likeness.
    likeness: npt.NDArray[np.float64] = np.corrcoef(worth - worth.mean(0), rowvar=False)
    return likeness


def segments(shop: Shop) -> npt.NDArray[np.bool_]:
    """Whether two held-out products share leaf category and third of its prices. Shape [held, held]."""
    by_shelf: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for product in shop.products:
        by_shelf[product.category_path].append(float(product.price))
    bounds = {shelf: np.quantile(prices, [1 / 3, 2 / 3]) for shelf, prices in by_shelf.items()}
    names = [
        (product.category_path, int(np.searchsorted(bounds[product.category_path], float(product.price))))
        for product in (shop.products[row] for row in shop.held)
    ]
    numbers = np.array([sorted(set(names)).index(name) for name in names])
    same: npt.NDArray[np.bool_] = numbers[:, None] == numbers
    return same


def measured(vectors: Vectors, gains: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> Figures:
    likeness = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(likeness, -np.inf)
    order = np.argsort(-likeness, axis=1, kind="stable")[:, :-1]
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    own = np.maximum(gains, 0)
    np.fill_diagonal(own, 0)
    best = -np.sort(-own, axis=1)[:, :DEPTH] @ discounts
    taste = np.take_along_axis(own, order[:, :DEPTH], 1) @ discounts / best
    hits = np.take_along_axis(same, order, 1)
    precision = np.cumsum(hits, 1) / np.arange(1, hits.shape[1] + 1) * hits
    with np.errstate(invalid="ignore"):
        # A product that is alone in its segment has nothing to find.
        segment = precision.sum(1) / hits.sum(1)
    return Figures(taste, segment)


def interval(ours: Figures, other: Figures, seed: int) -> list[float]:
    """95 % of the difference in NDCG@10, by the paired bootstrap over held-out products."""
    difference = ours.taste - other.taste
    draws = np.random.default_rng(seed).integers(0, len(difference), (2_000, len(difference)))
    return [round(float(end), 4) for end in np.percentile(difference[draws].mean(1), [2.5, 97.5])]


def plot(figures: Mapping[str, Figures], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    for axis, metric in zip(axes, ("taste_ndcg@10", "segment_map"), strict=True):
        values = [found.means()[metric] for found in figures.values()]
        axis.bar_label(axis.barh(list(figures), values), fmt="%.3f", padding=3)
        axis.set(title=metric, xlim=(0, max(values) * 1.25))
    axes[0].invert_yaxis()
    chart.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes; a plot goes beside it (.png)")
    parser.add_argument("--registry", type=Path, help="where the tower becomes a new version")
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--shoppers", type=int, default=600)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--picture-epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=TowerTraining.steps)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shop = read_shop(arguments.size, arguments.seed, arguments.picture_epochs)
    pairs = clicked_together(shop, arguments.shoppers, arguments.days, arguments.seed)
    gains, same = likeness_of_tastes(shop, arguments.shoppers, arguments.seed), segments(shop)
    settings = TowerTraining(steps=arguments.steps, seed=arguments.seed)
    seen, held = shop.parts.take(shop.seen), shop.parts.take(shop.held)
    figures: dict[str, Figures] = {}
    whole_report: dict[str, object] = {}
    for name, parts in _TOWERS.items():
        tower, report = train(seen.only(*parts), pairs, settings, name)
        figures[name] = measured(tower.vectors(held.only(*parts)), gains, same)
        if name == WHOLE:
            with tempfile.TemporaryDirectory() as scratch:
                where = save_tower(arguments.registry or Path(scratch), tower, shop.prices, report)
            whole_report = report
            for missing in PARTS:
                rest = [part for part in PARTS if part != missing]
                figures[f"{WHOLE}, without {missing}"] = measured(tower.vectors(held.only(*rest)), gains, same)
    figures[_UNTRAINED] = measured(held.text, gains, same)
    figures[_PLAIN] = measured(_plain(held), gains, same)
    for missing in PARTS:
        lacking = held.only(*(part for part in PARTS if part != missing))
        figures[f"{_PLAIN}, without {missing}"] = measured(_plain(lacking), gains, same)
    chance = np.random.default_rng(arguments.seed).normal(size=(len(held), 64)).astype(np.float32)
    figures[_CHANCE] = measured(chance, gains, same)
    margins = {part: interval(figures[WHOLE], figures[f"{part} alone"], arguments.seed) for part in PARTS}
    table = Table(
        title=f"{len(held):,} held-out products, towers trained on {len(seen):,} others, {len(pairs):,} pairs"
    )
    for heading in ("", "taste NDCG@10", "segment mAP"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in figures.items():
        table.add_row(name, *(f"{value:.4f}" for value in found.means().values()))
    Console().print(table)
    print(f"{WHOLE} − each alone, NDCG@10, 95 %: {margins}")
    answer = {
        "held_out": len(held), "trained_on": len(seen), "pairs": len(pairs), "seed": arguments.seed,
        "training": whole_report, "figures": {name: found.means() for name, found in figures.items()},
        "whole_minus_alone_interval_95": margins, "version": where.name if arguments.registry else "",
    }  # fmt: skip
    arguments.out.write_text(json.dumps(answer, indent=2) + "\n")
    plot(figures, arguments.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
