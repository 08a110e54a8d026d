"""The filter's two forms agree: the evaluator in services/common/filters.py and the engines' conditions."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.filters import AttributeFilter, PriceRange, ProductFilter, matches
from services.common.money import Money
from services.common.product import CATEGORY_SEPARATOR, Product
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.search import Retriever
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import retriever_over
from tests.integration.retrieval_engines import ENGINES, collections_of, indexed, new_tenant

BRANDS = ("Klarvox", "KLARVOX", "klarvox", "Straße", "STRASSE", "Pacelane")
LEVELS = ("Shoes", "shoes", "Boots", "Running Shoes")
COLOURS = ("red", "Red", "white", "navy blue")

# Amounts with cents and with all nine decimal places; floats of the engines keep them apart up to some millions.
amounts = st.decimals("0", "999999", places=2) | st.sampled_from(
    [Decimal(0), Decimal("9.99"), Decimal("10"), Decimal("10.000000001"), Decimal("999999.999999999")]
)
prices = st.builds(Money, st.sampled_from(["USD", "EUR"]), amounts)
paths = st.lists(st.sampled_from(LEVELS), max_size=3).map(tuple)
attributes = st.dictionaries(
    st.sampled_from(["colour", "size"]),
    st.lists(st.sampled_from(COLOURS), min_size=1, max_size=3).map(tuple),
    max_size=2,
)
products = st.builds(
    Product,
    id=st.uuids().map(str),
    title=st.sampled_from(["thing", "Klarvox - Running Shoes - Red", "Bag for Shoes"]),
    brand=st.sampled_from(["", *BRANDS]),
    category_path=paths,
    attributes=attributes,
    price=st.none() | prices,
    stock=st.none() | st.sampled_from([0, 1, 7]),
)


@st.composite
def price_ranges(draw: st.DrawFn) -> PriceRange:
    low, high = sorted((draw(amounts), draw(amounts)))
    currency = draw(st.sampled_from(["USD", "EUR"]))
    ends = draw(st.sampled_from([(low, high), (low, None), (None, high)]))
    return PriceRange(*(None if end is None else Money(currency, end) for end in ends))


filters = st.builds(
    ProductFilter,
    categories=st.lists(paths.filter(bool).map(CATEGORY_SEPARATOR.join), max_size=2).map(tuple),
    brands=st.lists(st.sampled_from(["", *BRANDS]), max_size=2).map(tuple),
    price=st.none() | price_ranges(),
    attributes=st.lists(
        st.builds(
            AttributeFilter,
            st.sampled_from(["colour", "size", "weight"]),
            st.lists(st.sampled_from(COLOURS), min_size=1, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    in_stock_only=st.booleans(),
    product_types=st.lists(st.sampled_from(["Shoe", "bag", "hat"]), max_size=2).map(tuple),
    compatible_with=st.lists(st.sampled_from(["Shoes", "red", ""]), max_size=2).map(tuple),
)


@pytest.fixture(scope="module", params=ENGINES)
def retriever(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    folder: Path = tmp_path_factory.mktemp("filters")
    opened = retriever_over(collections_of(request.param, folder), RetrievalSettings())
    yield opened
    opened.index.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    catalogue=st.lists(products, min_size=1, max_size=25, unique_by=lambda product: product.id),
    narrowings=st.lists(filters, min_size=1, max_size=12),
)
def test_both_forms_agree(retriever: Retriever, catalogue: list[Product], narrowings: list[ProductFilter]) -> None:
    """An engine finds exactly the products that the evaluator accepts."""
    tenant = new_tenant()
    retriever.index.upsert(tenant, indexed(catalogue), None)
    for narrowing in narrowings:
        found = retriever.retrieve(tenant, RetrievalQuery(filter=narrowing))
        assert set(found.candidates.ids) == {product.id for product in catalogue if matches(product, narrowing)}
        assert found.total_size == len(found.candidates.ids)
