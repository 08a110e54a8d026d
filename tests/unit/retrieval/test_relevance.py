"""Relevance is comparable between queries; a query without a good match gets helps that are true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.filters import ProductFilter
from services.common.noun_phrases import singular
from services.common.product import Product
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.growing import KeyArray
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.no_good_match import Help, HelpKind, NoGoodMatch, Reason, no_good_match
from services.retrieval.domain.query import AskedType, FloatArray, MatchGroup, RetrievalQuery, SpellingAlternative
from services.retrieval.domain.relevance import GOOD, Assessment, Evidence, assessed
from services.retrieval.domain.selection import Selection, WordConditions, Words
from tests.unit.retrieval.products import candidates

PRODUCTS = [
    *(
        Product(id=f"case {n}", title="Leather Case for Slate", brand="Acme", category_path=("Cases",))
        for n in range(6)
    ),
    *(Product(id=f"tv {n}", title="Plasma Television", brand="Acme", category_path=("TV",)) for n in range(3)),
    *(Product(id=f"song {n}", title="The Dress CD", brand="Fabrikam", category_path=("Music",)) for n in range(4)),
]
VOCABULARY = sorted(
    {singular(word) for product in PRODUCTS for word in f"{product.title} {product.brand}".lower().split()}
)
NEAR, FAR = 0.7, 0.35
_NO_KEYS: KeyArray = np.empty(0, np.uint64)


def numbers_of(text: str) -> tuple[int, ...]:
    """A word that no product has is one as well."""
    return tuple(VOCABULARY.index(word) if word in VOCABULARY else 1_000 for word in map(singular, text.split()))


def view() -> CatalogueView:
    table = Table()
    numbers = [numbers_of(f"{product.title} {product.brand}".lower()) for product in PRODUCTS]
    table.add([Entry(key, each, its, its) for key, (each, its) in enumerate(zip(PRODUCTS, numbers, strict=True))])
    return CatalogueView.of(table)


def query_of(text: str, **fields: object) -> RetrievalQuery:
    groups = tuple(MatchGroup((word,)) for word in text.split())
    asked = AskedType(tuple(map(singular, text.split())))
    return RetrievalQuery(text=text, **({"match_groups": groups, "asked_type": asked} | fields))  # type: ignore[arg-type]


def found(
    query: RetrievalQuery, cosine: float, conditions: WordConditions | None = None, excluded: KeyArray = _NO_KEYS
) -> tuple[Assessment, NoGoodMatch | None]:
    """With all products that meet the filter as candidates; `cosine` of those with a word of the query."""
    catalogue = view()
    words = [
        Words([numbers_of(text) for text in group.alternatives], text=group.alternatives[0])
        for group in query.match_groups
    ]
    selection = Selection.of(catalogue, catalogue.base_offers(), query, words, excluded, numbers_of, conditions)
    mask = selection.conditions.mask()
    rows = [row for row in range(len(PRODUCTS)) if mask[row]]
    every = candidates(
        [PRODUCTS[row].id for row in rows],
        keys=np.array(rows, np.uint64),
        dense_scores=np.array([cosine if _has_word(PRODUCTS[row], query) else FAR for row in rows], np.float32),
        categories=[PRODUCTS[row].category_path[0] for row in rows],
    )
    every = with_tiers(every, selection)
    assessment = assessed(query, selection, every)
    assert assessment is not None
    return assessment, no_good_match(query, selection, every, assessment)


def _has_word(product: Product, query: RetrievalQuery) -> bool:
    return any(word in product.title.lower() for word in query.text.split())


def with_tiers(every: Candidates, selection: Selection) -> Candidates:
    return replace(every, tiers=selection.tiers(every.keys))


SHARES = st.floats(0, 1)


@given(st.builds(Evidence, SHARES, SHARES, SHARES, SHARES, SHARES, SHARES, SHARES), SHARES)
def test_relevance_is_a_share_and_monotone(evidence: Evidence, other: float) -> None:
    """It is in [0, 1]; it rises with what a product has of the query, and falls with what the shop lacks."""
    relevance = float(evidence.relevance())
    assert 0 <= relevance <= 1
    for name in ("covered", "typed", "cosine", "usual_cosine", "frequency"):
        higher = replace(evidence, **{name: max(other, getattr(evidence, name))})
        assert float(higher.relevance()) >= relevance
    for name in ("missing", "lacking"):
        higher = replace(evidence, **{name: max(other, getattr(evidence, name))})
        assert float(higher.relevance()) <= relevance


def test_a_product_of_the_shop() -> None:
    """Its products are relevant, others are not; nothing is missing."""
    assessment, abstention = found(query_of("leather case"), NEAR)
    assert abstention is None
    assert not assessment.missing_words
    assert (assessment.relevances[:6] >= GOOD).all()
    assert assessment.relevances[9:].max() < assessment.relevances[:6].min()
    assert assessment.best == pytest.approx(assessment.evidence.relevance(), abs=1e-6)


def test_a_product_that_the_shop_does_not_have() -> None:
    """The words that no product has are named, and the category of most of the nearest products."""
    assessment, abstention = found(query_of("surf board", filter=ProductFilter(categories=("Cases",))), FAR)
    assert assessment.best < GOOD
    assert assessment.missing_words == ("surf", "board")
    assert abstention == NoGoodMatch(Reason.WORDS, (Help(HelpKind.NEAREST_CATEGORY, "Cases", 6),))


def test_an_unknown_model_among_known_words() -> None:
    """The results are useful all the same: the word is named, and there is a good match."""
    assessment, abstention = found(query_of("leather case x7000"), NEAR)
    assert assessment.missing_words == ("x7000",)
    assert abstention is None


def test_a_filter_that_leaves_out_what_is_asked_for() -> None:
    """The help names the field, and counts the products without it."""
    _, abstention = found(query_of("leather case", filter=ProductFilter(categories=("Music",))), FAR)
    assert abstention == NoGoodMatch(Reason.CONDITIONS, (Help(HelpKind.WITHOUT_FILTER, "category", 6),))


def test_helps_count_no_excluded_product() -> None:
    """Products that the request excludes are in no count, and nothing helps if all are excluded."""
    query = query_of("leather case", filter=ProductFilter(categories=("TV",)))
    _, abstention = found(query, NEAR, excluded=np.array([0, 1], np.uint64))
    assert abstention == NoGoodMatch(Reason.CONDITIONS, (Help(HelpKind.WITHOUT_FILTER, "category", 4),))
    _, abstention = found(query, NEAR, excluded=np.arange(6, dtype=np.uint64))
    assert abstention is not None
    assert HelpKind.WITHOUT_FILTER not in [help.kind for help in abstention.helps]


def test_a_condition_of_the_text_that_nothing_meets() -> None:
    """Televisions are there, but not Fabrikam's. A condition that no product of the shop meets is left aside."""
    _, abstention = found(query_of("television", soft_filter=ProductFilter(brands=("Fabrikam",))), NEAR)
    assert abstention == NoGoodMatch(Reason.CONDITIONS, (Help(HelpKind.WITHOUT_CONDITION, "brand", 3),))
    _, abstention = found(query_of("television", soft_filter=ProductFilter(brands=("Contoso",))), NEAR)
    assert abstention is None


def test_an_exclusion_that_leaves_nothing() -> None:
    """All cases are of leather."""
    query = query_of("case", excluded_words=("leather",))
    _, abstention = found(query, NEAR, WordConditions([([numbers_of("leather")], ())]))
    assert abstention == NoGoodMatch(Reason.CONDITIONS, (Help(HelpKind.WITHOUT_EXCLUSION, "leather", 6),))


def test_another_spelling() -> None:
    """Of a word that no product has: its spelling alternative, if there are products with it."""
    groups = (MatchGroup(("televizor", "song", "television")),)
    other = (SpellingAlternative("televizor", "television"),)
    query = query_of("televizor", match_groups=groups, spelling_alternatives=other, asked_type=AskedType())
    assessment, abstention = found(query, FAR)
    assert assessment.missing_words == ("televizor",)
    assert abstention is not None
    assert abstention.helps[0] == Help(HelpKind.OTHER_SPELLING, "televizor", 3, "television")


def test_what_is_not_assessed() -> None:
    """A query without content words, and one with a picture."""
    catalogue = view()
    image: FloatArray = np.ones((1, 2), np.float32)
    for query in (query_of(""), query_of("case", image=image), query_of("case", similar_to_id="tv 1")):
        words = [Words([numbers_of(group.alternatives[0])], text=group.alternatives[0]) for group in query.match_groups]
        selection = Selection.of(catalogue, catalogue.base_offers(), query, words, _NO_KEYS, numbers_of)
        assert assessed(query, selection, candidates(["tv 0"])) is None
