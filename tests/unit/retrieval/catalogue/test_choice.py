"""Which facets are chosen for the matches, and how identifiers and candidates join the matches."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from services.common.filters import AttributeFilter, ProductFilter
from services.common.money import Money
from services.common.product import Product
from services.retrieval.domain.catalogue.columns import CatalogueColumns
from services.retrieval.domain.catalogue.matching import PAGE, MatchLevel
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.domain.facets import CountAccuracy

DRILL, SHIRT = 1, 2


def drill(number: int) -> Product:
    return Product(
        id=f"d{number}", title="Drill", brand="Bosch", sku=f"DR-{number}",
        attributes={"voltage": (f"{12 + number % 3 * 6} V",), "serial": (f"no {number}",), "case": ("yes",)},
    )  # fmt: skip


def shirt(number: int) -> Product:
    price = Money("EUR", Decimal(10 + number))
    return Product(id=f"s{number}", title="Shirt", price=price, attributes={"size": ("SML"[number % 3],)})


def catalogue() -> CatalogueColumns:
    columns = CatalogueColumns()
    columns.replace([Entry(number, drill(number), [DRILL]) for number in range(30)])
    columns.replace([Entry(100 + number, shirt(number), [SHIRT]) for number in range(600)])
    return columns


def best(word: int, without: tuple[str, ...] = ()) -> list[str]:
    with catalogue().reading() as view:
        matches = view.matches([[(word,)]], view.conditions([], view.base_offers()))
        return [facet.field for facet in view.facets(matches, without, best_count=8, collapse=True)]


def test_the_best_facets_are_those_of_the_matches() -> None:
    """A field that splits the matches is chosen however rare it is in the catalogue; one value, or none, does not."""
    assert best(DRILL)[0] == "attributes.voltage"
    assert not {"brand", "attributes.case", "attributes.size", "price", "category"} & set(best(DRILL))
    assert best(SHIRT) == ["price", "attributes.size"]


def test_a_list_that_splits_everything_is_worse() -> None:
    """A field with a value for each product comes after one whose short list holds most of them."""
    fields = best(DRILL)
    assert fields.index("attributes.voltage") < fields.index("attributes.serial")


def test_fields_that_are_asked_for_are_not_chosen_again() -> None:
    """Asked for in any spelling, a field comes once: first, in the order of the request."""
    assert best(DRILL, ("attributes.Voltage", "brand")) == ["attributes.Voltage", "brand", "attributes.serial"]


def test_an_identified_product_is_a_match() -> None:
    """A product found by its identifier matches, whatever its words are."""
    with catalogue().reading() as view:
        conditions = view.conditions([], view.base_offers())
        matches = view.matches([], conditions, identified=view.identified_by("dr 7"))
        assert view.keys[matches.mask].tolist() == [7]
        assert (matches.level, matches.accuracy) == (MatchLevel.ANY_WORD, CountAccuracy.EXACT)


def test_candidates_count_if_no_product_has_a_word() -> None:
    """Candidates of the legs are the matches if the words are in no product; then counts are lower bounds."""
    with catalogue().reading() as view:
        conditions = view.conditions([ProductFilter(brands=("bosch",))], view.base_offers())
        matches = view.matches([[(99,)]], conditions, candidates=np.array([3, 4, 150, 7_000], np.uint64))
        assert view.keys[matches.mask].tolist() == [3, 4]
        assert matches.level is MatchLevel.CANDIDATES
        assert matches.accuracy is CountAccuracy.LOWER_BOUND
        assert view.facets(matches, ["brand"], collapse=True)[0].accuracy is CountAccuracy.LOWER_BOUND


def test_a_word_may_have_alternatives() -> None:
    """A group matches if all words of one of its alternatives are there."""
    with catalogue().reading() as view:
        conditions = view.conditions([], view.base_offers())
        assert len(view.matches([[(DRILL,), (SHIRT,)]], conditions).found) == 630
        assert len(view.matches([[(DRILL, SHIRT), (DRILL,)]], conditions).found) == 30
        assert view.matches([[(DRILL, SHIRT)]], conditions).level is MatchLevel.CANDIDATES


@pytest.mark.parametrize(("living", "level"), [(PAGE, MatchLevel.ALL_WORDS), (PAGE - 1, MatchLevel.ANY_WORD)])
def test_a_page_of_living_products_decides_the_level(living: int, level: MatchLevel) -> None:
    """All words count if a page of products has them, whatever the filter leaves of it; removed products do not."""
    columns = catalogue()
    columns.replace([Entry(1_000 + number, drill(1_000 + number), [DRILL, SHIRT]) for number in range(2 * PAGE)])
    columns.remove(range(1_000 + living, 1_000 + 2 * PAGE))
    with columns.reading() as view:
        one_left = ProductFilter(attributes=(AttributeFilter("serial", ("no 1000",)),))
        matches = view.matches([[(DRILL,)], [(SHIRT,)]], view.conditions([one_left], view.base_offers()))
        assert (matches.level, view.keys[matches.mask].tolist()) == (level, [1_000])
