"""`python -m training.understanding --catalog FILE --registry DIR`: trains query understanding for a shop.

Training needs no labelled queries. --labels adds labels given by people (see `kairos label suggest`).
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
from catalog.products import read_catalogue
from catalog.rows import RowRefused, read_rows
from services.common.limits import MAX_QUERY
from services.common.product import Product
from services.common.versions import add_version
from services.query_encoder.adapters.domain_files import load_domain
from services.query_encoder.adapters.understanding_files import save_understanding
from services.query_encoder.bulk_reading import BulkReader, ReadQuery
from services.query_encoder.domain.lexicon import Lexicon, learn
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding_network import Labels, UnderstandingNetwork
from services.query_encoder.domain.understanding_rules import FIND, INTENTS, NEUTRAL, SENTIMENTS
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.understanding.labels import read_labels
from training.understanding.queries import TEMPLATES, Example, QueryGenerator, read_templates, tags_of_catalogue
from training.understanding.train import Examples, UnderstandingTraining, train_network

NAME = "understanding"
# Attributes with many wordings. Brands are recognised by a dictionary.
TAG_NAMES = ("audience", "colour", "color", "material", "size")
# Minimum of products of a tag, maximum of tags, and of categories (those with the most products).
_LEAST_TAGGED, _MOST_TAGS = 3, 300
_MOST_CATEGORIES = 1_000
# Minimum of interactions with a category after a query, and maximum weight of such an example.
_LEAST_INTERACTIONS = 2
_MOST_WEIGHT = 5.0


@dataclass(frozen=True)
class Shop:
    """The data of a shop that training uses; `encoder` is the version of the reader's encoder."""

    products: Sequence[Product]
    labels: Labels
    domain: QueryDomain
    reader: BulkReader
    dimensions: int
    encoder: str

    def features(self, examples: Sequence[Example]) -> Examples:
        texts = [example.text[:MAX_QUERY] for example in examples]
        read: list[ReadQuery] = list(tqdm(self.reader.read(texts), total=len(texts), desc="reading", unit=" queries"))
        return Examples.of(examples, read, self.labels, self.dimensions)


def main(
    catalog: Annotated[Path, typer.Option(help="As for `kairos catalog import`.")],
    registry: Annotated[Path, typer.Option(help="The model becomes DIR/understanding/<next version>.")],
    events: Annotated[
        Path | None, typer.Option(help="As for `kairos events import`: interactions after a query.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of query, head, label, as from `kairos label suggest`.")
    ] = None,
    label_weight: Annotated[float, typer.Option(help="Weight of a labelled query; a generated one has 1.")] = 10.0,
    templates: Annotated[Path, typer.Option(help="Sentence templates.", show_default=False)] = TEMPLATES,
    map: Annotated[str, typer.Option(help="As for `kairos catalog import`.")] = "",
    queries: Annotated[int, typer.Option(help="Number of generated queries.", min=500)] = 24_000,
    epochs: int = UnderstandingTraining.epochs,
    seed: int = UnderstandingTraining.seed,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    settings = UnderstandingTraining(epochs=epochs, seed=seed)
    try:
        shop = open_shop(read_catalogue(catalog, map), QueryEncoderSettings(), threads)
        examples = generated_queries(shop, templates, queries, seed)
        generated = len(examples)
        if events is not None:
            examples += queries_of_events(shop, events)
        from_events = len(examples) - generated
        if labels is not None:
            examples += read_labels(labels, shop.labels.category, label_weight)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    network, calibrated = train_network(shop.features(examples), shop.labels, settings)
    about = {
        "encoder": shop.encoder, "training": asdict(settings), "generated": generated, "from_events": from_events,
        "labelled": len(examples) - generated - from_events,
    }  # fmt: skip
    print(save_version(registry, network, calibrated, about))


def open_shop(products: Sequence[Product], settings: QueryEncoderSettings, threads: int) -> Shop:
    """Raises ValueError if no product has a category."""
    encoder = build_encoder(settings, threads)
    domain = load_domain(settings.domain_dir, settings.concepts_file, settings.extra_concepts_file)
    counts = Counter(product.category for product in products if product.category)
    if not counts:
        raise ValueError("no product has a category; there is nothing to train on")
    kept = {path for path, _ in counts.most_common(_MOST_CATEGORIES)}
    products = [product for product in products if product.category in kept]
    lexicon = Lexicon()
    lexicon.add(learn(products), 1)
    tags = tags_of_catalogue(products, TAG_NAMES, _LEAST_TAGGED, _MOST_TAGS)
    labels = Labels(INTENTS, ["", *sorted(kept)], SENTIMENTS, tags, {})
    reader = BulkReader(encoder, domain, lexicon, settings)
    return Shop(products, labels, domain, reader, encoder.dimensions, encoder.model_version)


def generated_queries(shop: Shop, templates: Path, count: int, seed: int) -> list[Example]:
    generator = QueryGenerator(shop.products, shop.domain.graph, read_templates(templates), shop.labels.tags, seed)
    return [example for example in generator.examples(count) if example.text]


def queries_of_events(shop: Shop, events: Path) -> list[Example]:
    """Queries with the category of most interactions after them, if it has more than half of them."""
    category_of = {product.id: product.category for product in shop.products}
    interactions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in tqdm(read_rows(events), desc=events.name, unit=" events", mininterval=2):
        try:
            event = event_of(line.values)
        except RowRefused:
            continue
        if event.query and event.item_id in category_of:
            interactions[normal_form(event.query)][category_of[event.item_id]] += 1
    examples = []
    for query, counts in interactions.items():
        category, most = counts.most_common(1)[0]
        if query and most >= _LEAST_INTERACTIONS and most > counts.total() / 2:
            weight = min(most**0.5, _MOST_WEIGHT)
            examples.append(Example(query, FIND, (category,), NEUTRAL, weight=weight))
    return examples


def save_version(registry: Path, network: UnderstandingNetwork, labels: Labels, about: dict[str, Any]) -> Path:
    """Returns the folder of the new version."""
    return add_version(registry / NAME, lambda folder: save_understanding(network, labels, folder, about))


if __name__ == "__main__":
    typer.run(main)
