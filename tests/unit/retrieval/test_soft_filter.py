"""Which products answer a query and meet its conditions: they come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import pytest

from services.common.filters import PriceRange, ProductFilter
from services.common.money import Money
from services.common.product import Product
from services.retrieval.domain.catalogue.growing import BoolArray
from services.retrieval.domain.catalogue.matching import Alternative, MatchLevel
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import ScoredKeys
from services.retrieval.domain.query import AskedType, RetrievalQuery
from services.retrieval.domain.selection import Selection, WordConditions, Words

PRICES = {
    "wired headphones": 19,
    "wireless headphones": 36,
    "phone cable": 5,
    "waterproof trail running jacket": 90,
    "waterproof running jacket": 45,
    "trail running shoes": 40,
    "wool scarf": 20,
    "grey cardigan": 80,
}
TITLES = list(PRICES)
VOCABULARY = sorted({word for title in TITLES for word in title.split()})


def numbers_of(text: str) -> Alternative:
    return tuple(VOCABULARY.index(word) for word in text.split() if word in VOCABULARY)


def under(amount: int) -> ProductFilter:
    return ProductFilter(price=PriceRange(maximum=Money("USD", Decimal(amount))))


def selection(
    words: Sequence[str],
    soft: ProductFilter,
    own: ProductFilter | None = None,
    excluded: str = "",
    asked: AskedType | None = None,
) -> Selection:
    """Of a query with these words, which no condition states. A word that no product has gets a number of its own."""
    table = Table()
    for key, (title, price) in enumerate(PRICES.items()):
        product = Product(id=title, title=title, price=Money("USD", Decimal(price)))
        table.add([Entry(key, product, numbers_of(title), numbers_of(title))])
    view = CatalogueView.of(table)
    groups = [Words([numbers_of(word) or (len(VOCABULARY),)], text=word) for word in words]
    query = RetrievalQuery(filter=own or ProductFilter(), soft_filter=soft, asked_type=asked or AskedType())
    conditions = WordConditions([([numbers_of(excluded)], ())] if excluded else [])
    nothing = np.empty(0, np.uint64)
    return Selection.of(view, view.base_offers(), query, groups, nothing, numbers_of, conditions)


def titles(mask: BoolArray | None) -> set[str]:
    assert mask is not None
    return {TITLES[row] for row in np.flatnonzero(mask)}


def scored(cosines: Mapping[str, float], lexical: Mapping[str, float] | None = None) -> ScoredKeys:
    keys = np.array([TITLES.index(title) for title in cosines], np.uint64)
    dense = np.array(list(cosines.values()), np.float32)
    words = np.array([(lexical or {}).get(title, 0.0) for title in cosines], np.float32)
    return ScoredKeys(keys, dense, dense, words, np.zeros(len(keys), np.float32), len(keys))


@pytest.mark.parametrize(
    ("words", "most", "first", "level"),
    [
        (["headphones"], 23, {"wired headphones"}, MatchLevel.ALL_WORDS),
        (["headphones"], 50, {"wired headphones", "wireless headphones"}, MatchLevel.ALL_WORDS),
        (["headphones", "unheard-of"], 23, {"wired headphones"}, MatchLevel.ANY_WORD),
        ([], 10, {"phone cable"}, MatchLevel.ALL_WORDS),
    ],
)
def test_what_answers_and_meets_comes_first(words: list[str], most: int, first: set[str], level: MatchLevel) -> None:
    """All words but those that no product has, at any number of products; only they are counted."""
    found = selection(words, under(most))
    assert found.soft is not None
    assert titles(found.soft.first) == titles(found.matches.mask) == first
    assert (found.is_soft_filter_applied, found.matches.level) == (True, level)
    tiers = found.tiers(np.arange(len(TITLES), dtype=np.uint64))
    assert tiers is not None
    assert titles(tiers == 0) == first


def test_nothing_that_answers_meets() -> None:
    """Cheap things that are no headphones do not come first, and the condition is not counted."""
    found = selection(["headphones"], under(10))
    assert found.soft is not None
    assert titles(found.soft.first) == set()
    assert titles(found.matches.mask) == {"wired headphones", "wireless headphones"}
    assert not found.is_soft_filter_applied
    assert found.parts(200) == [None]
    assert titles(found.soft.meets) == {"phone cable"}


def test_most_of_the_words() -> None:
    """If what has all words does not meet the conditions, what has one word less comes first; a half is too little."""
    words = ["waterproof", "trail", "running", "jacket"]
    assert titles(selection(words, under(100)).matches.mask) == {"waterproof trail running jacket"}
    assert titles(selection(words, under(50)).matches.mask) == {"waterproof running jacket"}
    assert not selection(words, under(42)).is_soft_filter_applied


def test_too_few_words_together() -> None:
    """If no product has most of the words, what has any counts, and of it what is near by scores comes first."""
    found = selection(["wool", "cardigan"], under(90))
    assert found.soft is not None
    assert found.soft.first is None
    assert titles(found.matches.mask) == {"wool scarf", "grey cardigan"}
    _, part = found.parts(200)
    assert titles(part) == {"wool scarf", "grey cardigan"}
    scores = {"grey cardigan": 0.6, "phone cable": 0.6, "wool scarf": 0.5}
    decided = found.with_soft_filter(scored(scores)).soft
    assert decided is not None
    assert titles(decided.first) == {"grey cardigan"}


@pytest.mark.parametrize(("cosine", "lexical"), [(1.0, {}), (0.0, {"wired headphones": 9.0, "wool scarf": 2.0})])
def test_no_word_is_known(cosine: float, lexical: dict[str, float]) -> None:
    """Only scores say what answers then: cosines, or without a dense leg those of BM25."""
    found = selection(["unheard-of"], under(23))
    scores = {"wired headphones": 0.6 * cosine, "wireless headphones": 0.6 * cosine, "wool scarf": 0.4 * cosine}
    lexical = lexical and {"wireless headphones": 9.0, **lexical}
    found = found.with_soft_filter(scored(scores, lexical))
    assert found.soft is not None
    assert titles(found.soft.first) == {"wired headphones"}
    counted = found.with_candidates(np.array([0, 1, 6], np.uint64))
    assert titles(counted.matches.mask) == {"wired headphones"}
    assert counted.is_soft_filter_applied


def test_no_candidates() -> None:
    """Without candidates nothing comes first."""
    found = selection(["unheard-of"], under(23)).with_soft_filter(ScoredKeys.none())
    assert found.soft is not None
    assert titles(found.soft.first) == set()


def test_conditions_without_other_words() -> None:
    """Behind what meets all of them comes what meets some."""
    soft = ProductFilter(brands=("Fabrikam",), price=under(23).price)
    candidates = scored({"wireless headphones": 0.9, "grey cardigan": 0.8, "wool scarf": 0.7, "phone cable": 0.6})
    alone, with_words = selection([], soft), selection(["grey"], soft)
    order = ["wool scarf", "phone cable", "wireless headphones", "grey cardigan"]
    assert [TITLES[key] for key in alone.with_some_met(candidates).keys] == order
    assert with_words.with_some_met(candidates) is candidates


def test_enough_of_them() -> None:
    """If they fill the answer, nothing else is sought."""
    found = selection(["headphones"], under(50))
    assert len(found.parts(3)) == 2
    (part,) = found.parts(2)
    assert titles(part) == {"wired headphones", "wireless headphones"}


def test_the_type_that_is_asked_for() -> None:
    """A product of the type need not contain the word that names it, but all others."""
    footwear = AskedType(("footwear",), ("shoe",), "footwear")
    found = selection(["trail", "footwear"], under(50), asked=footwear)
    assert (titles(found.matches.mask), found.matches.level) == ({"trail running shoes"}, MatchLevel.ALL_WORDS)
    assert selection(["trail", "footwear"], under(50)).matches.level is not MatchLevel.ALL_WORDS
    assert titles(selection(["waterproof", "footwear"], under(50), asked=footwear).matches.mask) == {
        "waterproof running jacket", "trail running shoes",
    }  # fmt: skip


def test_what_is_excluded_does_not_answer() -> None:
    """It follows what does not meet the conditions."""
    found = selection(["headphones"], under(23), excluded="wired")
    assert not found.is_soft_filter_applied
    tiers = found.tiers(np.arange(2, dtype=np.uint64))
    assert tiers is not None
    assert tiers.tolist() == [5, 1]


def test_a_filter_does_not_change_what_answers() -> None:
    """The words that a product must have do not depend on the filter, unless nothing is left at all."""
    words, own = (
        ["waterproof", "trail", "running", "jacket"],
        ProductFilter(price=PriceRange(Money("USD", Decimal(60)))),
    )
    assert titles(selection(words, under(100), own).matches.mask) == {"waterproof trail running jacket"}
    assert not selection(["headphones"], under(23), own).is_soft_filter_applied
