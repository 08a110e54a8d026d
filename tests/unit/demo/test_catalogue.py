"""The catalogue of the demo shop: reproducible and plausible."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from demo.catalogue import REFERENCE, DemoProduct, build_catalogue, write_catalogue
from services.common.scripts import has_han

PRICES = {
    "T-Shirts": (8, 70),
    "Jeans": (25, 180),
    "Running Shoes": (25, 220),
    "Headphones": (8, 400),
    "Cables": (5, 80),
    "Coffee Makers": (12, 700),
    "Dog Food": (3, 120),
    "Novels": (5, 40),
    "Tea": (3, 110),
    "Desk Lamps": (10, 180),
}


@pytest.fixture(scope="module")
def catalogue() -> list[DemoProduct]:
    return build_catalogue()


def test_same_seed_same_catalogue(catalogue: list[DemoProduct]) -> None:
    """The same seed gives the same products, another seed gives others."""
    assert build_catalogue() == catalogue
    assert build_catalogue(seed=8) != catalogue


def test_ids_and_titles_are_unique(catalogue: list[DemoProduct]) -> None:
    """No two products share an id, an English title or a Chinese one."""
    assert len(catalogue) == 3000
    for texts in (
        {product.id for product in catalogue},
        {product.title for product in catalogue},
        {product.title_zh for product in catalogue},
    ):
        assert len(texts) == len(catalogue)


def test_every_category_is_well_stocked(catalogue: list[DemoProduct]) -> None:
    """There are at least ten categories with at least a hundred products each, and some products are out of stock."""
    sizes = Counter(product.category_path[0] for product in catalogue)
    assert len(sizes) >= 10
    assert min(sizes.values()) >= 100
    assert 0.03 < sum(product.stock == 0 for product in catalogue) / len(catalogue) < 0.12


def test_chinese_is_chinese(catalogue: list[DemoProduct]) -> None:
    """Chinese texts have Chinese characters, English ones have none, and no template has an unfilled place."""
    for product in catalogue:
        for text in (product.title_zh, product.description_zh, *product.category_path_zh):
            assert has_han(text), product
        for text in (product.title, product.description):
            assert not has_han(text), product
        assert "{" not in product.title + product.title_zh + product.description + product.description_zh


def test_prices_are_plausible(catalogue: list[DemoProduct]) -> None:
    """The cost is below the price, and the price ends in .99 or .00 and fits the kind of product."""
    for product in catalogue:
        assert 0 < product.cost < product.price
        assert str(product.price)[-3:] in (".99", ".00"), product
        low, high = PRICES.get(product.category_path[1], (1, 2000))
        assert low <= product.price <= high, product


def test_products_are_at_most_two_years_old(catalogue: list[DemoProduct]) -> None:
    """Every product was created within the two years before the reference date of the shop."""
    assert all(REFERENCE - timedelta(days=730) <= product.created_at <= REFERENCE for product in catalogue)


def test_the_import_file_holds_every_product(tmp_path: Path) -> None:
    """The import file has one JSON line for each product, and the same bytes for the same products."""
    products = build_catalogue(size=120)
    path = tmp_path / "demo.jsonl.gz"
    write_catalogue(path, products)
    first = path.read_bytes()
    write_catalogue(path, products)
    assert path.read_bytes() == first
    rows = [json.loads(line) for line in gzip.decompress(first).decode().splitlines()]
    assert [row["id"] for row in rows] == [product.id for product in products]
    assert rows[0]["category"] == " > ".join(products[0].category_path)
