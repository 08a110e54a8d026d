"""Products are found by their identifiers in every spelling."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.product import Product
from services.retrieval.domain.catalogue.columns import CatalogueColumns
from services.retrieval.domain.catalogue.identifiers import MIN_PREFIX, identifier_form, identifiers_of, spelling_of
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import MAX_IDENTIFIED, CatalogueView

HEADPHONES = Product(id="a-1", title="Headphones", sku="WH-1000XM4", mpn="WH1000XM4/B", gtin="0036000291452")
NEAR_TWIN = Product(id="a-2", title="Headphones", sku="WH-1000XM5", gtin="4006381333931")


def columns_of(products: Sequence[Product]) -> CatalogueColumns:
    columns = CatalogueColumns()
    columns.replace([Entry(key, product, ()) for key, product in enumerate(products)])
    return columns


def found(products: Sequence[Product], text: str) -> list[str]:
    with columns_of(products).reading() as view:
        return [products[int(view.keys[row])].id for row in view.identified_by(text)]


@pytest.mark.parametrize(
    "text",
    ["WH-1000XM4", "wh1000xm4", " Wh 1000 xm4 ", "ＷＨ－１０００ＸＭ４", "wh.1000/xm4", "WH1000XM4/B", "A1", "a-1",
     "036000291452", "36000291452", "0036000291452", "00036000291452"],
)  # fmt: skip
def test_every_spelling_finds_the_product(text: str) -> None:
    """Case, width, blanks, punctuation and leading zeros of a number do not count; the near twin is not found."""
    assert found([HEADPHONES, NEAR_TWIN], text) == ["a-1"]


@pytest.mark.parametrize("text", ["WH-1000", "WH-1000XM4 headphones", "headphones", "", "-", "0", "000"])
def test_another_text_finds_none(text: str) -> None:
    """A part of an identifier, or one with further words, is none."""
    assert found([HEADPHONES, NEAR_TWIN], text) == []


def test_zero_is_an_identifier() -> None:
    """An id of zeros only is found as it is written."""
    assert found([Product(id="00", title="x")], "00") == ["00"]


def test_what_many_share_identifies_none() -> None:
    """A text that more than MAX_IDENTIFIED products have as an identifier finds none of them."""
    same = [Product(id=f"p-{number}", title="x", mpn="none") for number in range(MAX_IDENTIFIED + 1)]
    assert len(found(same[:-1], "none")) == MAX_IDENTIFIED
    assert found(same, "none") == []


def test_completion() -> None:
    """A prefix of at least three characters is completed by the forms in order, each product once."""
    columns = columns_of([HEADPHONES, NEAR_TWIN])
    with columns.reading() as view:
        assert view.complete("wh-1", 5) == [("wh1000xm4", 0), ("wh1000xm5", 1)]
        assert view.complete("WH-1", 1) == [("wh1000xm4", 0)]
        assert view.complete("wh", 5) == []
        assert view.complete("wh1000xm4b", 5) == [("wh1000xm4b", 0)]
    columns.remove([0])
    with columns.reading() as view:
        assert view.complete("wh-1", 5) == [("wh1000xm5", 1)]
    assert spelling_of(HEADPHONES, "wh1000xm4b") == "WH1000XM4/B"
    assert spelling_of(HEADPHONES, "36000291452") == "0036000291452"


codes = st.text(st.sampled_from("Ab1-/0 é"), max_size=6)


@given(st.lists(st.tuples(codes, codes), max_size=30), codes, st.integers(0, 30), st.sampled_from(["sort", "compact"]))
def test_lookups_are_those_of_a_dict(texts: list[tuple[str, str]], text: str, sorted_from: int, how: str) -> None:
    """Sorted, compacted or new, an identifier finds the products that have it, and a prefix all that begin so."""
    products = [Product(id=f"#{number}#", title="x", sku=sku, mpn=mpn) for number, (sku, mpn) in enumerate(texts)]
    entries = [Entry(key, product, ()) for key, product in enumerate(products)]
    table = Table()
    table.add(entries[:sorted_from])
    table = table.tidied(only_due=False) if how == "sort" else table.compacted()[0]
    table.add(entries[sorted_from:])
    forms = [[identifier_form(text) for text in identifiers_of(product)] for product in products]
    form, view = identifier_form(text), CatalogueView.of(table)
    assert {n for n, its_forms in enumerate(forms) if form and form in its_forms} <= set(view.identified_by(text))
    completed = view.complete(text, 100)
    assert [found for found, _ in completed] == sorted(found for found, _ in completed)
    if len(form) >= MIN_PREFIX:
        beginning = {n for n, its_forms in enumerate(forms) if any(each.startswith(form) for each in its_forms)}
        assert beginning <= {row for _, row in completed}
