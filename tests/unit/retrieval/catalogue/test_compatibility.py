"""Which products are for a given one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.product import Product
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.query import ProductName
from tests.unit.retrieval.catalogue.catalogues import Catalogue, catalogues, few

TITLES = (
    "Acme - D3100 Camera - Black",
    "Bolt - X9 Camera",
    "Acme - Battery for Acme D3100 Cameras",
    "Acme - Battery for Acme D90 Cameras",
    "Bolt - Battery for Bolt Cameras",
    "Cord - Battery for Select Acme and Bolt Cameras",
    "Cord - Bag for Cameras",
    "Cord - Strap for Select Acme Cameras",
    "Acme - Kit for Acme Washers",
    "Acme - Washer",
    "Cord - Bag",
    "Cord - Songs for the Camera - CD",
)


def view_of(titles: tuple[str, ...] = TITLES) -> CatalogueView:
    table = Table()
    products = [Product(id=f"p{row}", title=title, brand=title.partition(" - ")[0]) for row, title in enumerate(titles)]
    table.add([Entry(row, product, ()) for row, product in enumerate(products)])
    return CatalogueView.of(table)


def accessories(view: CatalogueView, *titles: str) -> list[str]:
    named = [ProductName(title, title.partition(" - ")[0]) for title in titles]
    return [TITLES[row] for row in view.accessories(named, view.alive, 10).tolist()]


def test_accessories() -> None:
    """The best of each type, then the second of each; none for another brand, another model, or another thing."""
    assert accessories(view_of(), "Acme - D3100 Camera - Black") == [
        "Acme - Battery for Acme D3100 Cameras",
        "Cord - Strap for Select Acme Cameras",
        "Cord - Bag for Cameras",
        "Cord - Battery for Select Acme and Bolt Cameras",
    ]
    assert accessories(view_of(), "Bolt - X9 Camera") == [
        "Bolt - Battery for Bolt Cameras",
        "Cord - Bag for Cameras",
        "Cord - Battery for Select Acme and Bolt Cameras",
    ]
    assert accessories(view_of(), "Acme - Washer") == ["Acme - Kit for Acme Washers"]


def test_of_several_products() -> None:
    """What is for any of them, as for a cart."""
    found = accessories(view_of(), "Acme - Washer", "Bolt - X9 Camera")
    assert {"Acme - Kit for Acme Washers", "Bolt - Battery for Bolt Cameras"} <= set(found)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Acme - D3100 Camera", {3, 4}),
        ("Bolt - X9 Camera", {2, 3, 7, 8}),
        ("Acme - Washer", {2, 3, 4}),
    ],
)
def test_for_another(title: str, expected: set[int]) -> None:
    """Only what names another brand or model is for another product; what is for nothing is for any."""
    view = view_of()
    named = [ProductName(title, title.partition(" - ")[0])]
    assert set(np.flatnonzero(view.names_another(np.arange(len(view)), named)).tolist()) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bolt", "battery"], {2, 3, 7, 8}),
        (["acme", "d90", "battery"], {4}),
        (["d3100", "battery"], set()),
        (["camera", "battery"], set()),
        (["cord", "bag"], {2, 3, 4, 5, 7, 8}),
    ],
)
def test_words_of_a_query(words: list[str], expected: set[int]) -> None:
    """What names nothing of a query that names a brand is for another one; a query without a brand excludes nothing."""
    view = view_of()
    others = view.names_only_others(view.keys, words)
    assert (set() if others is None else set(np.flatnonzero(others).tolist())) == expected


@few
@given(catalogues(), st.sampled_from(["Nike - Running Shoes", "Acme Slate 2", "跑鞋", "-"]), st.integers(1, 9))
def test_any_catalogue(catalogue: Catalogue, title: str, limit: int) -> None:
    """Living and allowed products, each once and at most the limit, after any writes and removals."""
    view = catalogue.view
    allowed = view.alive & (np.arange(len(view)) % 3 > 0)
    rows = view.accessories([ProductName(title)], allowed, limit)
    assert len(set(rows.tolist())) == len(rows) <= limit
    assert allowed[rows].all()
    assert not view.names_another(rows, [ProductName(title)]).any()
