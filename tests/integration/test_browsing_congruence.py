"""Browsing pages through all products that match, on both engines, compared with a list in memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.filters import ProductFilter, SortOrder, matches
from services.common.money import Money
from services.common.product import Product
from services.retrieval.adapters.points import point_id
from services.retrieval.domain.cursor import Cursor
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.domain.retrieval import Retrieval
from services.retrieval.search import Retriever
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import retriever_over
from tests.integration.retrieval_engines import ENGINES, collections_of, indexed, new_tenant

KLARVOX = ProductFilter(brands=("Klarvox",))


@pytest.fixture(scope="module", params=ENGINES)
def retriever(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    opened = retriever_over(collections_of(request.param, tmp_path_factory.mktemp("browsing")), RetrievalSettings())
    yield opened
    opened.index.close()


def product(number: int, price: int | None, day: int | None, brand: str = "Klarvox") -> Product:
    return Product(
        id=f"p{number}",
        title="thing",
        brand=brand,
        price=None if price is None else Money("USD", Decimal(price) / 10),
        created_at=None if day is None else datetime(2026, 1, day, tzinfo=UTC),
    )


def place(product: Product, sort: SortOrder) -> tuple[bool, float, int]:
    """In the order of `sort`: products without the field last, equal ones by point id."""
    value = 0.0
    if sort is SortOrder.NEWEST and product.created_at is not None:
        value = -product.created_at.timestamp()
    elif sort in (SortOrder.PRICE_ASCENDING, SortOrder.PRICE_DESCENDING) and product.price is not None:
        value = float(product.price.amount) * (1 if sort is SortOrder.PRICE_ASCENDING else -1)
    is_missing = {
        SortOrder.RELEVANCE: False,
        SortOrder.NEWEST: product.created_at is None,
    }.get(sort, product.price is None)
    return is_missing, value, point_id(product.id)


def next_page(retriever: Retriever, tenant: str, query: RetrievalQuery, before: Retrieval) -> Retrieval:
    """By the token, as a client sends it."""
    assert before.next is not None
    return retriever.retrieve(tenant, dataclasses.replace(query, cursor=Cursor.from_token(before.next.to_token())))


def all_pages(retriever: Retriever, tenant: str, query: RetrievalQuery) -> list[Retrieval]:
    pages = [retriever.retrieve(tenant, query)]
    while pages[-1].next is not None:
        pages.append(next_page(retriever, tenant, query, pages[-1]))
    return pages


def ids(pages: Sequence[Retrieval]) -> list[str]:
    return [id for page in pages for id in page.candidates.ids]


@pytest.mark.parametrize("sort", SortOrder)
@pytest.mark.parametrize("limit", [24, 200])
def test_a_brand_with_643_products(retriever: Retriever, sort: SortOrder, limit: int) -> None:
    """All 643 products of a brand come once, in order, on full pages, and each page has the count of them all.

    30 of them have one price, and 40 neither price nor date.
    """
    catalogue = [
        product(number, 100 if number < 30 else None if number < 70 else number % 90, 1 + number % 28)
        for number in range(643)
    ]
    catalogue = [
        dataclasses.replace(entry, created_at=None) if 30 <= number < 70 else entry
        for number, entry in enumerate(catalogue)
    ]
    others = [product(number, number % 90, 1, "Pacelane") for number in range(1_000, 1_100)]
    tenant = new_tenant()
    retriever.index.upsert(tenant, indexed([*catalogue, *others]), None)
    pages = all_pages(retriever, tenant, RetrievalQuery(filter=KLARVOX, sort=sort, limit=limit))
    assert ids(pages) == [entry.id for entry in sorted(catalogue, key=lambda entry: place(entry, sort))]
    assert [len(page.candidates) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert {page.total_size for page in pages} == {643}


catalogues = st.lists(
    st.tuples(
        st.none() | st.sampled_from([0, 1, 1, 1, 7, 99]),
        st.none() | st.sampled_from([1, 2, 2]),
        st.sampled_from(["Klarvox", "Pacelane"]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=catalogues,
    sort=st.sampled_from(SortOrder),
    limit=st.integers(1, 9),
    filtered=st.booleans(),
    with_soft_filter=st.booleans(),
    doomed=st.lists(st.sets(st.integers(0, 29), max_size=6), max_size=4),
)
def test_products_removed_between_pages(
    retriever: Retriever,
    rows: list[tuple[int | None, int | None, str]],
    sort: SortOrder,
    limit: int,
    filtered: bool,
    with_soft_filter: bool,
    doomed: list[set[int]],
) -> None:
    """Whatever is removed between two pages: no product comes twice, and those that stay all come, in order."""
    catalogue = [product(number, *row) for number, row in enumerate(rows)]
    tenant = new_tenant()
    retriever.index.upsert(tenant, indexed(catalogue), None)
    query = RetrievalQuery(
        filter=KLARVOX if filtered else ProductFilter(),
        soft_filter=KLARVOX if with_soft_filter else ProductFilter(),
        sort=sort,
        limit=limit,
    )
    count = sum(matches(entry, KLARVOX) for entry in catalogue)
    applied = with_soft_filter and count > 0
    narrowing = KLARVOX if filtered or applied else ProductFilter()
    left = {entry.id: entry for entry in catalogue if matches(entry, narrowing)}
    removed: set[str] = set()

    pages = [retriever.retrieve(tenant, query)]
    for numbers in [*doomed, *[set[int]()] * len(rows)]:
        assert pages[-1].soft_filter_applied == applied
        assert pages[-1].total_size == len(left)
        if pages[-1].next is None:
            break
        gone = {f"p{number}" for number in numbers}
        retriever.index.remove(tenant, sorted(gone))
        removed |= gone
        left = {id: entry for id, entry in left.items() if id not in gone}
        pages.append(next_page(retriever, tenant, query, pages[-1]))
    assert pages[-1].next is None

    found = ids(pages)
    assert max(Counter(found).values(), default=1) == 1
    assert all(len(page.candidates) == limit for page in pages[:-1])
    stayed = [entry.id for entry in sorted(left.values(), key=lambda entry: place(entry, sort))]
    assert [id for id in found if id not in removed] == stayed
