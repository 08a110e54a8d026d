"""`python -m training.understanding --catalog FILE --registry DIR`: trains query understanding for a shop.

Nothing need be labelled. What a person did label (`kairos label suggest`) is added with --labels.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from catalog.events import event_of
from catalog.mapping import RowRefused
from catalog.products import read_catalogue
from catalog.rows import read_rows
from services.common.limits import MAX_QUERY
from services.common.product import Product
from services.common.versions import add_version
from services.query_encoder.adapters.concept_files import load_graph
from services.query_encoder.adapters.understanding_files import save_understanding
from services.query_encoder.bulk_reading import BulkReader, ReadQuery
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.lexicon import Lexicon, learn
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding_network import Labels, UnderstandingNetwork
from services.query_encoder.domain.understanding_rules import FIND, INTENTS, NEUTRAL, SENTIMENTS
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.understanding.labels import read_labels
from training.understanding.queries import TEMPLATES, Example, QueryMaker, read_templates, tags_of_catalogue
from training.understanding.train import Examples, UnderstandingTraining, train_network

NAME = "understanding"
# Brands are a dictionary's; colours, materials and audiences are said in many ways.
TAG_NAMES = ("audience", "colour", "color", "material", "size")
_LEAST_TAGGED, _MOST_TAGS = 3, 300
# Of categories, those with the most products.
_MOST_CATEGORIES = 1_000
# Shoppers that chose it after the query.
_LEAST_CHOSEN = 2
_MOST_WEIGHT = 5.0


@dataclass(frozen=True)
class Shop:
    """What training knows of a shop."""

    products: Sequence[Product]
    labels: Labels
    graph: ConceptGraph
    reader: BulkReader
    dimensions: int
    encoder: str

    def features(self, examples: Sequence[Example]) -> Examples:
        texts = [example.text[:MAX_QUERY] for example in examples]
        read: list[ReadQuery] = list(tqdm(self.reader.read(texts), total=len(texts), desc="reading", unit=" queries"))
        return Examples.of(examples, read, self.labels, self.dimensions)


def main(
    catalog: Annotated[Path, typer.Option(help="As of `kairos catalog import`.")],
    registry: Annotated[Path, typer.Option(help="The model becomes DIR/understanding/<next version>.")],
    events: Annotated[
        Path | None, typer.Option(help="As of `kairos events import`: what was chosen after a query.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of query, head, label, as of `kairos label suggest`.")
    ] = None,
    label_weight: Annotated[float, typer.Option(help="How many made queries one labelled query counts for.")] = 10.0,
    templates: Annotated[Path, typer.Option(help="How people ask.", show_default=False)] = TEMPLATES,
    map: Annotated[str, typer.Option(help="As of `kairos catalog import`.")] = "",
    queries: Annotated[int, typer.Option(help="How many are made.", min=500)] = 24_000,
    epochs: int = UnderstandingTraining.epochs,
    seed: int = UnderstandingTraining.seed,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    settings = UnderstandingTraining(epochs=epochs, seed=seed)
    try:
        shop = open_shop(read_catalogue(catalog, map), QueryEncoderSettings(), threads)
        examples = made_queries(shop, templates, queries, seed)
        made = len(examples)
        if events is not None:
            examples += chosen_after(shop, events)
        chosen = len(examples) - made
        if labels is not None:
            examples += read_labels(labels, shop.labels.category, label_weight)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    network, calibrated = train_network(shop.features(examples), shop.labels, settings)
    about = {
        "encoder": shop.encoder, "training": asdict(settings), "made": made, "from_events": chosen,
        "labelled": len(examples) - made - chosen,
    }  # fmt: skip
    print(save_version(registry, network, calibrated, about))


def open_shop(products: Sequence[Product], settings: QueryEncoderSettings, threads: int) -> Shop:
    """Raises ValueError where no product has a category."""
    encoder = build_encoder(settings, threads)
    graph = load_graph(settings.concepts_file, settings.extra_concepts_file)
    counts = Counter(product.category for product in products if product.category)
    if not counts:
        raise ValueError("no product has a category; there is nothing to learn from")
    kept = {path for path, _ in counts.most_common(_MOST_CATEGORIES)}
    products = [product for product in products if product.category in kept]
    lexicon = Lexicon()
    lexicon.add(learn(products), 1)
    tags = tags_of_catalogue(products, TAG_NAMES, _LEAST_TAGGED, _MOST_TAGS)
    labels = Labels(INTENTS, ["", *sorted(kept)], SENTIMENTS, tags, {})
    reader = BulkReader(encoder, graph, lexicon, settings)
    return Shop(products, labels, graph, reader, encoder.dimensions, encoder.model_version)


def made_queries(shop: Shop, templates: Path, count: int, seed: int) -> list[Example]:
    maker = QueryMaker(shop.products, shop.graph, read_templates(templates), shop.labels.tags, seed)
    return [example for example in maker.examples(count) if example.text]


def chosen_after(shop: Shop, events: Path) -> list[Example]:
    """Queries by the category that most was clicked, carted or bought in after them, where it is clear which."""
    category_of = {product.id: product.category for product in shop.products}
    chosen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in tqdm(read_rows(events), desc=events.name, unit=" events", mininterval=2):
        try:
            event = event_of(line.values)
        except RowRefused:
            continue
        if event.query and event.item_id in category_of:
            chosen[normal_form(event.query)][category_of[event.item_id]] += 1
    examples = []
    for query, counts in chosen.items():
        category, most = counts.most_common(1)[0]
        if query and most >= _LEAST_CHOSEN and most > counts.total() / 2:
            weight = min(most**0.5, _MOST_WEIGHT)
            examples.append(Example(query, FIND, (category,), NEUTRAL, weight=weight))
    return examples


def save_version(registry: Path, network: UnderstandingNetwork, labels: Labels, about: dict[str, Any]) -> Path:
    """The folder of a new version."""
    return add_version(registry / NAME, lambda folder: save_understanding(network, labels, folder, about))


if __name__ == "__main__":
    typer.run(main)
