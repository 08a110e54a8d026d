"""Rows that move: replacement, removal and compaction, and whoever follows them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.common.filters import ProductFilter
from services.common.product import Product
from services.retrieval.domain.catalogue.columns import CatalogueColumns
from services.retrieval.domain.catalogue.table import Entry


def entry(key: int, brand: str = "") -> Entry:
    return Entry(key, Product(id=f"p{key}", title="x", brand=brand), [key % 7])


class Book:
    """What somebody knows of each row: here the key of its product."""

    def __init__(self) -> None:
        self.keys: dict[int, int] = {}
        self.compactions = 0

    def move(self, pairs: Sequence[tuple[int, int]]) -> None:
        for old, new in pairs:
            self.keys[new] = self.keys.pop(old)

    def drop(self, rows: Sequence[int]) -> None:
        for row in rows:
            del self.keys[row]

    def remap(self, moved: npt.NDArray[np.int32]) -> None:
        self.compactions += 1
        self.keys = {int(moved[row]): key for row, key in self.keys.items()}


def followed(count: int) -> tuple[CatalogueColumns, Book]:
    book = Book()
    columns = CatalogueColumns([book])
    columns.replace([entry(key) for key in range(count)])
    with columns.reading() as view:
        book.keys = {row: int(view.keys[row]) for row in range(len(view))}
    return columns, book


def test_a_follower_follows() -> None:
    """After replacements, removals and compactions a follower's rows are still those of the same products."""
    columns, book = followed(3_000)
    columns.replace([entry(key, "Nike") for key in range(900)])
    columns.remove(range(2_900, 3_000))
    assert book.compactions == 0
    columns.replace([entry(key, "Nike") for key in range(500)])
    assert book.compactions == 1
    with columns.reading() as view:
        assert len(view) < 4_400
        assert np.count_nonzero(view.alive) == len(columns) == len(book.keys) == 2_900
        assert all(view.row_of(key) == row for row, key in book.keys.items())
        nike = view.conditions([ProductFilter(brands=("nike",))], view.base_offers()).mask()
        assert sorted(view.keys[nike].tolist()) == list(range(900))


def test_the_last_entry_of_a_key_counts() -> None:
    """A product that comes twice in one batch is there once, as it came last."""
    columns = CatalogueColumns()
    columns.replace([entry(1, "Nike"), entry(2, "Nike"), entry(1, "Puma")])
    with columns.reading() as view:
        everything = view.everything(view.conditions([], view.base_offers()))
        (brands,) = view.facets(everything, ["brand"], collapse=False)
        assert {count.value: count.count for count in brands.counts} == {"Nike": 1, "Puma": 1}


def test_the_shown_spelling_is_that_of_most_products() -> None:
    """Of several spellings the one that most living products have is shown, also after some of them are gone."""

    def shown() -> str:
        with columns.reading() as view:
            everything = view.everything(view.conditions([], view.base_offers()))
            return view.facets(everything, ["brand"], collapse=False)[0].counts[0].value

    columns = CatalogueColumns()
    columns.replace([entry(1, "NIKE"), entry(2, "Nike"), entry(3, "Nike")])
    assert shown() == "Nike"
    columns.remove([2])
    assert shown() == "NIKE"
    columns.replace([entry(1, "nike")])
    assert shown() == "Nike"


def test_a_view_keeps_its_rows() -> None:
    """What a search began to count it counts to its end: later products are not in it, and products keep their rows."""
    columns, _ = followed(200)
    with columns.reading() as view:
        conditions = view.conditions([], view.base_offers())
        matches = view.matches([[(3,)]], conditions)
        before = view.facets(matches, ["attributes.colour", "brand", "price"], collapse=True, best_count=2)
        expected = len(matches.found)
    red = {"colour": ("red",)}
    columns.replace([Entry(key, Product(id=f"p{key}", title="x", attributes=red), [3]) for key in range(150, 2_000)])
    columns.remove(range(100, 150))
    with columns.reading():
        assert len(view) == 200
        assert view.total(matches, collapse=True) == expected
        assert view.facets(matches, ["attributes.colour", "brand", "price"], collapse=True, best_count=2) == before
        again = view.matches([[(3,)]], view.conditions([], view.base_offers()))
        assert set(view.keys[again.mask].tolist()) == {key for key in range(100) if key % 7 == 3}
        assert view.rows_of(np.array([7, 120, 160, 1_000], np.uint64)).tolist() == [7, -1, -1, -1]


def test_searches_see_whole_products_while_others_write() -> None:
    """Counts of one reading agree with each other, whatever is written and compacted meanwhile."""
    columns, _ = followed(2_000)
    stop = threading.Event()

    def write() -> None:
        brand = 0
        while not stop.is_set():
            brand += 1
            columns.replace([entry(key, f"Brand {brand}") for key in range(700)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            with columns.reading() as view:
                everything = view.everything(view.conditions([], view.base_offers()))
                (brands,) = view.facets(everything, ["brand"], collapse=False)
                assert view.total(everything, collapse=True) == view.total(everything, collapse=False) == 2_000
                assert sum(count.count for count in brands.counts) == round(2_000 * brands.coverage)
    finally:
        stop.set()
        writer.join()
