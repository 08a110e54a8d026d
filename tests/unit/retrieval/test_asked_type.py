"""Products of the type that a query asks for come first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.common.noun_phrases import singular
from services.common.product import Product
from services.retrieval.domain.asked_type import ContentWord, TypedRows
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import ScoredKeys
from services.retrieval.domain.query import AskedType

TITLES = (
    "Acme Slate 2 with Wi-Fi",
    "Case for Acme Slate",
    "Leather Case for Acme Slate",
    "Case for Fabrikam Phone",
    "Battery for Fabrikam Phone",
    "Fabrikam Phone",
    "Fabrikam Handset",
)
VOCABULARY = sorted({singular(word) for title in TITLES for word in title.lower().split()})


def numbers_of(text: str) -> tuple[int, ...]:
    return tuple(VOCABULARY.index(word) for word in map(singular, text.split()) if word in VOCABULARY)


def view() -> CatalogueView:
    table = Table()
    table.add(
        [Entry(key, Product(id=title, title=title), numbers_of(title.lower())) for key, title in enumerate(TITLES)]
    )
    return CatalogueView.of(table)


def typed(words: Sequence[str], names: Sequence[str] = (), matched_text: str = "") -> TypedRows | None:
    catalogue = view()
    content = [ContentWord(word, catalogue.containing([numbers_of(word)])) for word in words]
    asked = AskedType(tuple(map(singular, words)), tuple(names), matched_text)
    return TypedRows.of(catalogue, asked, content, numbers_of)


def scored(keys: Sequence[int], scores: Sequence[float]) -> ScoredKeys:
    nothing = np.zeros(len(keys), np.float32)
    return ScoredKeys(np.array(keys, np.uint64), np.array(scores, np.float32), nothing, nothing, nothing, len(keys))


def order(rows: TypedRows | None, keys: Sequence[int], scores: Sequence[float]) -> list[int]:
    assert rows is not None
    found = rows.first(scored(keys, scores), np.ones(len(TITLES), np.bool_))
    assert (np.diff(found.scores) <= 0).all()
    kept: list[int] = found.keys.tolist()
    return kept


def test_the_product_before_its_accessories() -> None:
    """A slate is asked for, whatever the scores of its cases; it also comes if no leg found it."""
    assert order(typed(["slate"]), [1, 2, 0, 5], [0.9, 0.8, 0.3, 0.1]) == [0, 1, 2, 5]
    assert order(typed(["slate"]), [1, 2, 5], [0.9, 0.8, 0.1])[0] == 0


def test_the_accessory_before_the_product() -> None:
    """Of two types in a query that one counts which has products with the other word, in both orders of the words."""
    for words in (["slate", "case"], ["case", "slate"]):
        rows = typed(words)
        assert rows is not None
        assert rows.name == "case"
        assert order(rows, [0, 3, 1], [0.9, 0.8, 0.3])[0] == 1


def test_all_words_before_some() -> None:
    """A case with all words comes first, a case without them rises a little."""
    assert order(typed(["leather", "case"]), [0, 4, 3, 2], [1.0, 0.95, 0.9, 0.0]) == [2, 0, 3, 4, 1]


def test_what_is_added_is_known() -> None:
    """Without it the products have the scores that they had, also after other candidates joined and some were taken."""
    rows = typed(["slate"])
    assert rows is not None
    found = rows.first(scored([1, 2, 0, 5], [0.9, 0.8, 0.3, 0.1]), np.ones(len(TITLES), np.bool_)).first(3)
    assert found.type_gains is not None
    own = dict(zip(found.keys.tolist(), (found.scores - found.type_gains).tolist(), strict=True))
    assert own == pytest.approx({0: 0.3, 1: 0.9, 2: 0.8})


def test_names() -> None:
    """Products that other names of the type name count as well, a name of two words if the title has both."""
    rows = typed(["phone"], ["handset", "fabrikam phone"], "phone")
    assert order(rows, [4, 3, 6, 5], [0.9, 0.8, 0.2, 0.1])[:2] == [6, 5]
    unknown = typed(["mobile"], ["fabrikam phone"], "mobile")
    assert unknown is not None
    assert order(unknown, [4, 5], [0.9, 0.1])[0] == 5


def test_no_type() -> None:
    """Without a product of such a type there is nothing to do."""
    assert typed(["fabrikam"]) is None
    assert typed(["slate", "leather", "battery"]) is None
