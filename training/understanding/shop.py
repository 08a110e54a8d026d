"""The data of a shop that query understanding is trained on: its catalogue, and what shoppers chose after a query."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from services.common.limits import MAX_QUERY
from services.common.product import Product
from services.query_encoder.adapters.domain_files import load_domain
from services.query_encoder.bulk_reading import BulkReader, ReadQuery
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding_network import Labels
from services.query_encoder.domain.understanding_rules import FIND, INTENTS, NEUTRAL, SENTIMENTS
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.search.clicks import SearchedList
from training.understanding.queries import Example, QueryGenerator, read_templates, tags_of_catalogue
from training.understanding.train import Examples

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
    """`products` with a category; `lexicon` of all of them; `encoder` is the version of the reader's encoder."""

    products: Sequence[Product]
    labels: Labels
    domain: QueryDomain
    lexicon: Lexicon
    reader: BulkReader
    dimensions: int
    encoder: str

    def read(self, examples: Sequence[Example]) -> list[ReadQuery]:
        texts = [example.text[:MAX_QUERY] for example in examples]
        return list(tqdm(self.reader.read(texts), total=len(texts), desc="Reading queries", disable=None))

    def features(self, examples: Sequence[Example]) -> Examples:
        return Examples.of(examples, self.read(examples), self.labels, self.dimensions)


def open_shop(products: Sequence[Product], settings: QueryEncoderSettings, threads: int) -> Shop:
    """Raises ValueError if no product has a category."""
    encoder = build_encoder(settings, threads)
    domain = load_domain(settings.domain_dir, settings.concepts_file, settings.extra_concepts_file)
    counts = Counter(product.category for product in products if product.category)
    if not counts:
        raise ValueError("no product has a category; there is nothing to train on")
    kept = {path for path, _ in counts.most_common(_MOST_CATEGORIES)}
    products = [product for product in products if product.category in kept]
    lexicon = Lexicon.of(products)
    tags = tags_of_catalogue(products, TAG_NAMES, _LEAST_TAGGED, _MOST_TAGS)
    labels = Labels(INTENTS, ["", *sorted(kept)], SENTIMENTS, tags, {})
    reader = BulkReader(encoder, domain, lexicon, settings)
    return Shop(products, labels, domain, lexicon, reader, encoder.dimensions, encoder.model_version)


def generated_queries(shop: Shop, templates: Path, count: int, seed: int) -> list[Example]:
    generator = QueryGenerator(shop.products, shop.domain.graph, read_templates(templates), shop.labels.tags, seed)
    return [example for example in generator.examples(count) if example.text]


def clicked_queries(products: Iterable[Product], searches: Iterable[SearchedList]) -> list[Example]:
    """Queries with the category of most products that shoppers chose after them, if it has more than half of these."""
    category_of = {product.id: product.category for product in products}
    interactions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for search in searches:
        chosen = [item_id for item_id, reached in zip(search.item_ids, search.reached, strict=True) if reached]
        interactions[normal_form(search.query)].update(category_of[each] for each in chosen if each in category_of)
    examples = []
    for query, counts in interactions.items():
        category, most = counts.most_common(1)[0] if counts else ("", 0)
        if query and most >= _LEAST_INTERACTIONS and most > counts.total() / 2:
            weight = min(most**0.5, _MOST_WEIGHT)
            examples.append(Example(query, FIND, (category,), NEUTRAL, weight=weight))
    return examples
