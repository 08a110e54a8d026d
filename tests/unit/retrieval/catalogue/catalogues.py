"""Random catalogues with edits, filters and queries; and what they mean, by brute force over the products."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from services.common.filters import AttributeFilter, PriceRange, ProductFilter, matches
from services.common.money import Money
from services.common.product import CATEGORY_SEPARATOR, Product
from services.retrieval.domain.catalogue.matching import PAGE, Group, MatchLevel
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView

# A random catalogue takes longer than most examples: fewer of them, and no limit that a busy machine breaks.
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
many = settings(few, max_examples=100)

BRANDS = ("Nike", "NIKE", " nike ", "Straße", "STRASSE", "Pacelane")
LEVELS = ("Shoes", "shoes", "Boots", "Running  Shoes")
COLOURS = ("red", "Red", "white", "navy blue")
SIZES = ("36", "37.5", "38", "39", "40", "41", "42", "43", "44", "45.0", "45", "large")
TITLES = (
    "thing",
    "Nike - Running Shoes - Red",
    "Bag for Shoes",
    "Blue BAG",
    "Case for Acme Slate 2 and Bolt Phones",
    "跑鞋",
)
TYPES = ("shoe", " Bag", "thing", "hat")
FIELDS = ("category", "brand", "price", "product_type", "attributes.colour", "attributes.Size")

amounts = st.decimals("0", "999", places=2) | st.sampled_from(
    [Decimal(0), Decimal("9.99"), Decimal("10"), Decimal("9.995"), Decimal("49.999")]
)
prices = st.builds(Money, st.sampled_from(["USD", "USD", "EUR", "JPY"]), amounts)
paths = st.lists(st.sampled_from(LEVELS), max_size=3).map(tuple)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "colour": st.lists(st.sampled_from(COLOURS), min_size=1, max_size=3).map(tuple),
        "size": st.lists(st.sampled_from(SIZES), min_size=1, max_size=2).map(tuple),
    },
)
ids = st.sampled_from([f"p{number}" for number in range(25)])
products = st.builds(
    Product,
    id=ids,
    title=st.sampled_from(TITLES),
    brand=st.sampled_from(["", *BRANDS]),
    category_path=paths,
    attributes=attributes,
    price=st.none() | prices,
    stock=st.none() | st.sampled_from([0, 1, 7]),
    created_at=st.none() | st.integers(1, 3).map(lambda day: datetime(2026, 1, day, tzinfo=UTC)),
    item_group_id=st.sampled_from(["", "g1", "g2", "g3", "p1"]),
)
words = st.lists(st.integers(0, 4), max_size=4, unique=True)


@st.composite
def price_ranges(draw: st.DrawFn) -> PriceRange:
    low, high = sorted((draw(amounts), draw(amounts)))
    currency = draw(st.sampled_from(["USD", "EUR"]))
    ends = draw(st.sampled_from([(low, high), (low, None), (None, high)]))
    return PriceRange(*(None if end is None else Money(currency, end) for end in ends))


attribute_filters = st.builds(
    AttributeFilter,
    st.sampled_from(["colour", " COLOUR", "size", "weight"]),
    st.lists(st.sampled_from(COLOURS + SIZES), min_size=1, max_size=2).map(tuple),
) | st.builds(lambda low: AttributeFilter("size", minimum=low, maximum=low + 3), st.integers(35, 45))
conditions: list[st.SearchStrategy[ProductFilter]] = [
    st.builds(
        ProductFilter,
        categories=st.lists(paths.filter(bool).map(CATEGORY_SEPARATOR.join), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(ProductFilter, brands=st.lists(st.sampled_from(["", *BRANDS]), min_size=1, max_size=2).map(tuple)),
    st.builds(ProductFilter, price=price_ranges()),
    st.builds(ProductFilter, attributes=st.lists(attribute_filters, min_size=1, max_size=2).map(tuple)),
    st.just(ProductFilter(in_stock_only=True)),
    st.builds(
        ProductFilter,
        compatible_with=st.lists(
            st.sampled_from(["acme", "SLATE Acme", "slate phone", "bolt phones", "shoe", "-"]), min_size=1, max_size=2
        ).map(tuple),
    ),
    st.builds(ProductFilter, product_types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=2).map(tuple)),
]


@st.composite
def filters_of_some(draw: st.DrawFn) -> ProductFilter:
    """None, one or two conditions: more leave nothing to count."""
    made = ProductFilter()
    for condition in draw(st.lists(st.sampled_from(conditions), max_size=2)):
        one = draw(condition)
        made = replace(made, **{each.name: value for each in fields(one) if (value := getattr(one, each.name))})
    return made


filters = filters_of_some()
# Of a query: each word with its alternatives.
groups: st.SearchStrategy[list[Group]] = st.lists(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=2).map(tuple), min_size=1, max_size=2), max_size=3
)


@dataclass
class Catalogue:
    """A table, and beside it the products that it should hold."""

    table: Table = field(default_factory=Table)
    products: dict[int, tuple[Product, list[int]]] = field(default_factory=dict)

    @property
    def view(self) -> CatalogueView:
        return CatalogueView.of(self.table)

    def write(self, batch: Iterable[tuple[Product, list[int]]]) -> None:
        entries = {key_of(product): (product, its_words) for product, its_words in batch}
        self.table.add([Entry(key, product, its_words) for key, (product, its_words) in entries.items()])
        self.products |= entries

    def remove(self, removed: Iterable[str]) -> None:
        keys = [int(id[1:]) for id in set(removed)]
        self.table.remove(keys)
        for key in keys:
            self.products.pop(key, None)

    def keys(self, mask: npt.NDArray[np.bool_]) -> set[int]:
        return set(self.view.keys[mask].tolist())

    def group(self, key: int) -> str:
        return self.products[key][0].group


@dataclass(frozen=True)
class _Write:
    batch: list[tuple[Product, list[int]]]


@dataclass(frozen=True)
class _Remove:
    ids: list[str]


class _Tidying(Enum):
    COMPACT = "compact"
    SORT = "sort"


def key_of(product: Product) -> int:
    return int(product.id[1:])


writes = st.lists(st.tuples(products, words), min_size=8, max_size=20)
rewrites = st.lists(st.tuples(products, words), min_size=1, max_size=6)
edits = rewrites.map(_Write) | st.lists(ids, max_size=10).map(_Remove) | st.sampled_from(_Tidying)


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    """Written, written again, removed, sorted and compacted in any order."""
    made = Catalogue()
    made.write(draw(writes))
    for edit in draw(st.lists(edits, max_size=3)):
        match edit:
            case _Write(batch):
                made.write(batch)
            case _Remove(removed):
                made.remove(removed)
            case _Tidying.COMPACT:
                made.table, _ = made.table.compacted()
            case _Tidying.SORT:
                made.table = made.table.tidied(only_due=False)
    return made


def matching(
    catalogue: Catalogue, query: Sequence[Group], narrowing: ProductFilter, candidates: Iterable[int] = ()
) -> tuple[MatchLevel, set[int]]:
    """The level and the keys of the matches, word by word and product by product."""
    contained = {
        key: [any(set(alternative) <= set(its_words) for alternative in group) for group in query]
        for key, (_, its_words) in catalogue.products.items()
    }
    levels: list[tuple[MatchLevel, set[int], int]] = [
        (MatchLevel.ALL_WORDS, {key for key, found in contained.items() if query and all(found)}, PAGE),
        (MatchLevel.ANY_WORD, {key for key, found in contained.items() if any(found)}, 1),
        (MatchLevel.CANDIDATES, set(candidates) & set(catalogue.products), 0),
    ]
    reached = itertools.dropwhile(lambda level: len(level[1]) < level[2], levels)
    for level, keys, _ in reached:
        kept = {key for key in keys if matches(catalogue.products[key][0], narrowing)}
        if kept or level is MatchLevel.CANDIDATES:
            return level, kept
    raise AssertionError


def unit_count(catalogue: Catalogue, keys: Iterable[int], *, collapse: bool) -> int:
    return len({catalogue.group(key) if collapse else key for key in keys})
