"""Retrieval over an index whose legs can fail: what is asked of it, and what the answer reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.common.errors import Conflict, InvalidArgument
from services.common.filters import SortOrder
from services.retrieval.domain.catalogue.matching import MatchLevel
from services.retrieval.domain.cursor import Cursor, Position
from services.retrieval.domain.facets import CountAccuracy
from services.retrieval.domain.legs import Source
from services.retrieval.domain.offers.context import OfferContext
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.domain.retrieval import DegradationReason, Retrieval
from services.retrieval.ports import Columns, ProductIndex
from services.retrieval.search import Retriever, lookup
from tests.unit.retrieval.fake_index import EAST, FIXED, NIKE, FakeIndex, asked, query


def retrieve(index: FakeIndex, query: RetrievalQuery) -> Retrieval:
    return Retriever(index, FIXED).retrieve("t", query)


def test_all_legs_at_once() -> None:
    """If no leg fails, one batch has all of them, and nothing is degraded."""
    index = FakeIndex()
    found = retrieve(index, query())
    assert found.candidates.ids == ["a", "b", "c"]
    assert (found.degradations, found.model_version, found.total_size) == ((), "m@1", 3)
    assert asked(index) == [["dense", "lexical"]]


@pytest.mark.parametrize(
    ("broken", "fallback", "batches"),
    [
        (["dense"], "lexical retrieval", [["dense", "image", "lexical"], ["dense", "lexical"], ["lexical"]]),
        (["image"], "retrieval without the picture", [["dense", "image", "lexical"], ["dense", "lexical"]]),
        (
            ["image", "lexical"],
            "dense retrieval",
            [["dense", "image", "lexical"], ["dense", "lexical"], ["lexical"], ["dense"]],
        ),
        (
            ["dense", "lexical"],
            "image retrieval",
            [["dense", "image", "lexical"], ["dense", "lexical"], ["lexical"], ["dense"], ["image"]],
        ),
    ],
)
def test_a_leg_that_fails(broken: list[str], fallback: str, batches: list[list[str]]) -> None:
    """If a leg fails, fewer legs are tried until they answer; the answer names the fallback and the first error."""
    index = FakeIndex(tuple(broken))
    found = retrieve(index, query(image=EAST))
    assert found.candidates.ids == ["a", "b", "c"]
    (degradation,) = found.degradations
    assert (degradation.reason, degradation.fallback) == (DegradationReason.ERROR, fallback)
    assert f"the {broken[0]} leg is broken" in degradation.detail
    assert asked(index) == batches
    assert (found.candidates.image_scores is None) == ("image" not in batches[-1])


@pytest.mark.parametrize(
    ("broken", "batches"),
    [("lexical", [["dense", "lexical"], ["lexical"], ["dense"]]), ("dense", [["dense", "lexical"], ["lexical"]])],
)
def test_two_legs_of_which_one_fails(broken: str, batches: list[list[str]]) -> None:
    """With two legs each is tried by itself, the lexical one first."""
    index = FakeIndex((broken,))
    assert retrieve(index, query()).candidates.ids == ["a", "b", "c"]
    assert asked(index) == batches


def test_no_leg_is_left() -> None:
    """If all legs fail, the engine's error comes out."""
    with pytest.raises(RuntimeError, match="leg is broken"):
        retrieve(FakeIndex(("dense", "lexical")), query())


@pytest.mark.parametrize(("broken", "text", "vectors"), [("lexical", "shoes", None), ("dense", "", EAST)])
def test_the_only_leg(broken: str, text: str, vectors: FloatArray | None) -> None:
    """The only leg of a query is tried once, and its failure comes out."""
    index = FakeIndex((broken,))
    with pytest.raises(RuntimeError):
        retrieve(index, query(text, vectors))
    assert len(index.batches) == 1


def test_a_refusal_is_no_failure() -> None:
    """What the index refuses is for the caller: no other leg is tried."""
    index = FakeIndex(("refused",))
    with pytest.raises(Conflict):
        retrieve(index, query())
    assert len(index.batches) == 1


def test_vectors_of_another_model() -> None:
    """A vector of another model version is never compared: only the lexical leg is left, and the answer says why."""
    index = FakeIndex(version="m@2")
    found = retrieve(index, query())
    assert asked(index) == [["lexical"]]
    (degradation,) = found.degradations
    assert (degradation.reason, degradation.fallback) == (DegradationReason.MODEL_VERSION_MISMATCH, "lexical retrieval")
    assert "m@1" in degradation.detail
    assert "m@2" in degradation.detail


def test_only_vectors_of_another_model() -> None:
    """Without words no leg is left: no candidates, and the answer says why."""
    index = FakeIndex(version="m@2")
    found = retrieve(index, query(text=""))
    assert (len(found.candidates), found.total_size, index.batches) == (0, 0, [])
    assert [degradation.fallback for degradation in found.degradations] == ["no candidates"]


def test_a_failure_after_the_mismatch() -> None:
    """If the lexical leg, the only one left, fails, the query fails, and nothing is browsed."""
    index = FakeIndex(("lexical",), version="m@2")
    with pytest.raises(RuntimeError):
        retrieve(index, query())
    assert len(index.batches) == 1


def test_rows_of_zeros_are_no_vectors() -> None:
    """A row of zeros is no vector: it is skipped together with its weight."""
    index = FakeIndex()
    rows = np.array([[0, 0], [0, 1], [0, 0], [1, 0]], np.float32)
    retrieve(index, query(vectors=rows, weights=(9.0, 1.0, 9.0, 2.0)))
    ((legs, _),) = index.batches
    dense = [leg for leg in legs if leg.source is Source.DENSE]
    assert [np.asarray(leg.query).tolist() for leg in dense] == [[0, 1], [1, 0]]
    assert [leg.share for leg in dense] == pytest.approx([1 / 3, 2 / 3])


def test_nothing_but_zeros() -> None:
    """With zeros only, the lexical leg is left; without words the catalogue is browsed."""
    zeros, index = np.zeros((2, 2), np.float32), FakeIndex()
    retrieve(index, query(vectors=zeros))
    assert asked(index) == [["lexical"]]
    assert retrieve(index, query(text=" ", vectors=zeros)).total_size == 3
    assert len(index.batches) == 1


@pytest.mark.parametrize("words", [("shoes",), ()], ids=["known word", "unknown word"])
def test_a_soft_filter(words: tuple[str, ...]) -> None:
    """The product that meets it comes first, though it has a lower score, and is the only one that counts."""
    found = retrieve(FakeIndex(known_words=words), query(soft_filter=NIKE))
    assert (found.candidates.ids, found.soft_filter_applied, found.total_size) == (["b", "a", "c"], True, 1)
    assert [
        column.tolist() for column in (found.candidates.tiers, found.candidates.meets_soft_filter) if column is not None
    ] == [
        [0, 1, 1],
        [True, False, False],
    ]


def test_a_soft_filter_in_a_sorted_list() -> None:
    """What meets it comes first in the order of the list, then the others."""
    index = FakeIndex(known_words=("shoes",), nikes=("a", "c"))
    found = retrieve(index, query(soft_filter=NIKE, sort=SortOrder.PRICE_ASCENDING))
    assert (found.candidates.ids, found.total_size) == (["c", "a", "b"], 2)


def test_a_soft_filter_when_browsing() -> None:
    """Only what meets it is listed."""
    found = retrieve(FakeIndex(), query("", None, soft_filter=NIKE))
    assert (found.candidates.ids, found.soft_filter_applied, found.total_size) == (["b"], True, 1)


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_soft_filter_that_no_product_meets(text: str) -> None:
    """It changes nothing, and the answer says so."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(nikes=()), query(text, vectors, soft_filter=NIKE))
    assert (found.candidates.ids, found.soft_filter_applied, found.total_size) == (["a", "b", "c"], False, 3)


def test_a_soft_filter_and_a_small_limit() -> None:
    """If enough products meet it, no others are sought."""
    index = FakeIndex(known_words=("shoes",))
    assert retrieve(index, query(soft_filter=NIKE, limit=1)).candidates.ids == ["b"]
    ((_, narrowings),) = index.batches
    assert [None if each.keys is None else each.keys.tolist() for each in narrowings] == [[1]]


def test_without_a_soft_filter() -> None:
    """Without a soft filter none is applied."""
    assert not retrieve(FakeIndex(), query()).soft_filter_applied


def test_facets_and_order_of_candidates() -> None:
    """If no product has a word of the query, facets count the candidates, and the sort orders them."""
    found = retrieve(FakeIndex(), query(facets=("brand",), sort=SortOrder.PRICE_ASCENDING))
    assert counts_of(found) == [("Acme", 2), ("Nike", 1)]
    assert (found.match_level, found.total_accuracy) == (MatchLevel.CANDIDATES, CountAccuracy.LOWER_BOUND)
    assert found.candidates.ids == ["b", "c", "a"]


def test_facets_and_order_of_matches() -> None:
    """If products have the words, facets and the total are exact, and a sorted answer needs no legs."""
    index = FakeIndex(known_words=("shoes",))
    found = retrieve(index, query(facets=("brand",), sort=SortOrder.PRICE_ASCENDING, limit=2))
    assert counts_of(found) == [("Acme", 2), ("Nike", 1)]
    assert (found.match_level, found.total_accuracy) == (MatchLevel.ANY_WORD, CountAccuracy.EXACT)
    assert (found.candidates.ids, found.total_size, index.batches) == (["b", "c"], 3, [])


def test_candidates_have_effective_prices() -> None:
    """Prices and currencies come from the catalogue, not from what the engine stores."""
    found = retrieve(FakeIndex(), query())
    assert found.candidates.prices.tolist() == [3, 1, 2]
    assert found.candidates.currencies == ["USD"] * 3


def counts_of(found: Retrieval) -> list[tuple[str, int]]:
    return [(entry.value, entry.count) for entry in found.facets[0].counts]


def test_browsing() -> None:
    """Without words and vectors the matching products are listed in the order of the sort; no leg is asked."""
    index = FakeIndex(nikes=("a", "b"))
    wanted = query("", None, facets=("brand",), sort=SortOrder.PRICE_DESCENDING, limit=1, filter=NIKE)
    found = retrieve(index, wanted)
    assert (found.candidates.ids, found.total_size, index.batches) == (["a"], 2, [])
    assert counts_of(found) == [("Nike", 2), ("Acme", 1)]
    following = retrieve(index, replace(wanted, cursor=found.next))
    assert (following.candidates.ids, following.next) == (["b"], None)


def test_browsing_without_excluded_products() -> None:
    """Excluded products are neither listed nor counted."""
    found = retrieve(FakeIndex(), query("", None, excluded_ids=("a",)))
    assert (sorted(found.candidates.ids), found.total_size) == (["b", "c"], 2)


def test_costly_columns_only_where_needed() -> None:
    """Vectors are fetched only where the answer needs them."""
    index = FakeIndex()
    retrieve(index, query(facets=("brand",)))
    retrieve(index, query(facets=("attributes.colour",), with_vectors=True))
    assert [columns.vectors for columns in index.fetched] == [False, True]


def test_a_bad_query_asks_nothing() -> None:
    """A query beyond its bounds is refused before the index is called."""
    index = FakeIndex()
    with pytest.raises(InvalidArgument):
        retrieve(index, query(limit=0))
    assert index.batches == []


@pytest.mark.parametrize("was_applied", [True, False])
def test_later_pages(was_applied: bool) -> None:
    """A later page begins behind the one before and keeps its decision about the soft filter."""
    index = FakeIndex(nikes=("a", "c"))
    cursor = Cursor(SortOrder.PRICE_ASCENDING, Position(1.5, 0), was_applied)
    found = retrieve(index, query("", None, sort=SortOrder.PRICE_ASCENDING, soft_filter=NIKE, cursor=cursor, limit=1))
    assert found.soft_filter_applied == was_applied
    assert (found.candidates.ids, found.total_size) == (["c"], 2 if was_applied else 3)
    assert found.next == Cursor(SortOrder.PRICE_ASCENDING, Position(2.0, 2), was_applied)


def test_a_search_has_no_pages() -> None:
    """A page token together with a query is refused by its name."""
    cursor = Cursor(SortOrder.RELEVANCE, Position(None, 3))
    with pytest.raises(InvalidArgument, match=r"^page_token: "):
        retrieve(FakeIndex(), query(cursor=cursor))
    assert retrieve(FakeIndex(), query()).next is None


def test_lookup_in_order() -> None:
    """Products by id come in the order asked for, each once; unknown ids are named, each once."""
    index: ProductIndex = FakeIndex()
    found, missing = lookup(index, "t", ["c", "x", "a", "c", "x"], Columns(), OfferContext(), now_s=0.0)
    assert (found.ids, missing) == (["c", "a"], ["x"])
    assert found.meets_soft_filter is None


def test_lookup_says_what_meets_a_soft_filter() -> None:
    """Nothing is left out by it."""
    found, _ = lookup(FakeIndex(), "t", ["c", "b"], Columns(), OfferContext(), now_s=0.0, soft_filter=NIKE)
    assert found.meets_soft_filter is not None
    assert (found.ids, found.meets_soft_filter.tolist()) == (["c", "b"], [False, True])
