"""Retrieval over an index that can lose a half: what is asked of it, and what the answer admits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.common.errors import Conflict, InvalidArgument
from services.common.filters import ProductFilter, SortOrder
from services.retrieval.domain.candidates import Candidates, DegradationReason, Facet, IndexedProduct
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.ports import Columns, Narrowing, ProductIndex, Reembedding, Search, Vectors
from services.retrieval.search import lookup, retrieve
from tests.unit.retrieval.products import candidates

EAST = np.array([[0, 1]], np.float32)
WISH = ProductFilter(brands=("Nike",))


@dataclass
class FakeIndex:
    """Three products, of which `wished` are Nike's. `broken`: the legs that fail, or "refused"."""

    broken: tuple[str, ...] = ()
    version: str = "m@1"
    wished: tuple[str, ...] = ("b",)
    searches: list[Search] = field(default_factory=list)
    browsed: list[tuple[Narrowing, SortOrder, int]] = field(default_factory=list)

    def search(self, tenant: str, search: Search) -> tuple[Candidates, int]:
        self.searches.append(search)
        if "refused" in self.broken:
            raise Conflict("another dimension")
        if search.vectors is not None and "dense" in self.broken:
            raise RuntimeError("the dense half is broken")
        if search.text and "lexical" in self.broken:
            raise RuntimeError("the lexical half is broken")
        found = self._matching(search.narrowing)
        return self._rows(found[: search.limit]), len(found)

    def browse(self, tenant: str, narrowing: Narrowing, sort: SortOrder, limit: int, columns: Columns) -> Candidates:
        self.browsed.append((narrowing, sort, limit))
        return self._rows(self._matching(narrowing)[:limit])

    def facet(self, tenant: str, field: str, narrowing: Narrowing) -> Facet:
        return Facet.of(field, [("whole catalogue", self.count(tenant, narrowing))])

    def count(self, tenant: str, narrowing: Narrowing) -> int:
        return len(self._matching(narrowing))

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        return self._rows([id for id in ids if id in "abc"])

    def model_version(self, tenant: str) -> str:
        return self.version

    def image_model_version(self, tenant: str) -> str:
        return ""

    def vector(self, tenant: str, id: str, *, image: bool) -> FloatArray | None:
        raise NotImplementedError

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None = None,
        other_vectors: Sequence[Vectors] = (),
    ) -> None:
        raise NotImplementedError

    def pinned(self, tenant: str) -> ProductIndex:
        return self

    @property
    def reembedding(self) -> Reembedding:
        raise NotImplementedError

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        raise NotImplementedError

    def check(self) -> None: ...

    def close(self) -> None: ...

    def _matching(self, narrowing: Narrowing) -> list[str]:
        known = self.wished if WISH in narrowing.filters else ("a", "b", "c")
        return [id for id in known if id not in narrowing.excluded_ids]

    @staticmethod
    def _rows(ids: Sequence[str]) -> Candidates:
        prices = {"a": 3.0, "b": 1.0, "c": 2.0}
        return candidates(ids, prices=np.array([prices[id] for id in ids]), brands=["Nike"] * len(ids))


def query(text: str = "shoes", vectors: FloatArray | None = EAST, **fields: object) -> RetrievalQuery:
    return RetrievalQuery(text=text, vectors=vectors, model_version="m@1", **fields)  # type: ignore[arg-type]


def asked(index: FakeIndex) -> list[tuple[str, bool]]:
    """(words, whether there was a vector) of each search."""
    return [(search.text, search.vectors is not None) for search in index.searches]


def test_both_halves_at_once() -> None:
    """With both legs well there is one search with both, and nothing was given up."""
    index: FakeIndex = FakeIndex()
    found = retrieve(index, "t", query())
    assert found.candidates.ids == ["a", "b", "c"]
    assert (found.degradations, found.model_version, found.total_size) == ((), "m@1", 3)
    assert asked(index) == [("shoes", True)]


@pytest.mark.parametrize(
    ("broken", "fallback", "last"),
    [("dense", "lexical retrieval", ("shoes", False)), ("lexical", "dense retrieval", ("", True))],
)
def test_the_other_half(broken: str, fallback: str, last: tuple[str, bool]) -> None:
    """A half that fails leaves the answer to the other, and the answer says so."""
    index = FakeIndex((broken,))
    found = retrieve(index, "t", query())
    assert found.candidates.ids == ["a", "b", "c"]
    (given_up,) = found.degradations
    assert (given_up.reason, given_up.fallback) == (DegradationReason.ERROR, fallback)
    assert f"the {broken} half is broken" in given_up.detail
    assert asked(index)[-1] == last


def test_no_half_is_left() -> None:
    """Where both legs fail, what the engine said comes out."""
    with pytest.raises(RuntimeError, match="half is broken"):
        retrieve(FakeIndex(("dense", "lexical")), "t", query())


@pytest.mark.parametrize(("broken", "text", "vectors"), [("lexical", "shoes", None), ("dense", "", EAST)])
def test_the_only_half(broken: str, text: str, vectors: FloatArray | None) -> None:
    """A query of one half has no other: it is tried once, and its failure comes out."""
    index = FakeIndex((broken,))
    with pytest.raises(RuntimeError):
        retrieve(index, "t", query(text, vectors))
    assert len(index.searches) == 1


def test_a_refusal_is_no_failure() -> None:
    """What the index refuses is for the caller: no half stands in for it."""
    index = FakeIndex(("refused",))
    with pytest.raises(Conflict):
        retrieve(index, "t", query())
    assert len(index.searches) == 1


def test_vectors_of_another_model() -> None:
    """A vector of another model version is never compared: words alone, and the answer says why."""
    index = FakeIndex(version="m@2")
    found = retrieve(index, "t", query())
    assert asked(index) == [("shoes", False)]
    (given_up,) = found.degradations
    assert (given_up.reason, given_up.fallback) == (DegradationReason.MODEL_VERSION_MISMATCH, "lexical retrieval")
    assert "m@1" in given_up.detail
    assert "m@2" in given_up.detail


def test_only_vectors_of_another_model() -> None:
    """Without words there is nothing left to look for: no candidates, and the answer says why."""
    index = FakeIndex(version="m@2")
    found = retrieve(index, "t", query(text=""))
    assert (len(found.candidates), found.total_size, index.searches) == (0, 0, [])
    assert [given_up.fallback for given_up in found.degradations] == ["no candidates"]


def test_a_failure_after_the_mismatch() -> None:
    """A query that lost its vector to the version has words left: when they fail, it fails, and nothing is browsed."""
    index = FakeIndex(("lexical",), version="m@2")
    with pytest.raises(RuntimeError):
        retrieve(index, "t", query())
    assert index.browsed == []


def test_rows_of_zeros_are_no_vectors() -> None:
    """A row of zeros points nowhere: it is left out with its weight."""
    index = FakeIndex()
    rows = np.array([[0, 0], [0, 1], [0, 0], [1, 0]], np.float32)
    retrieve(index, "t", query(vectors=rows, weights=(9.0, 1.0, 9.0, 2.0)))
    (search,) = index.searches
    assert search.vectors is not None
    assert search.vectors.tolist() == [[0, 1], [1, 0]]
    assert search.weights == (1.0, 2.0)


def test_nothing_but_zeros() -> None:
    """With zeros only, words are looked up alone; without words the catalogue is browsed."""
    zeros, index = np.zeros((2, 2), np.float32), FakeIndex()
    retrieve(index, "t", query(vectors=zeros))
    assert asked(index) == [("shoes", False)]
    retrieve(index, "t", query(text=" ", vectors=zeros))
    assert len(index.browsed) == 1


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_wish_that_leaves_enough(text: str) -> None:
    """A preferred filter holds while enough candidates match it."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(), "t", query(text, vectors, soft_filter=WISH, soft_filter_minimum=1))
    assert (found.candidates.ids, found.soft_filter_applied, found.total_size) == (["b"], True, 1)


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_wish_that_leaves_too_little(text: str) -> None:
    """A preferred filter that leaves too few candidates is dropped, and the answer says so."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(), "t", query(text, vectors, soft_filter=WISH, soft_filter_minimum=2))
    assert (found.candidates.ids, found.soft_filter_applied) == (["a", "b", "c"], False)
    assert found.total_size == 3


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_wish_needs_no_more_than_the_limit(text: str) -> None:
    """Whoever asks for one candidate is served by one that matches the wish."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(), "t", query(text, vectors, soft_filter=WISH, soft_filter_minimum=10, limit=1))
    assert (found.candidates.ids, found.soft_filter_applied) == (["b"], True)


def test_without_a_wish() -> None:
    """Where nothing is preferred, nothing was applied."""
    assert not retrieve(FakeIndex(), "t", query()).soft_filter_applied


def test_facets_and_order_of_candidates() -> None:
    """For a query, facets are counted over the candidates, and the sort orders them."""
    found = retrieve(FakeIndex(), "t", query(facets=("brand",), sort=SortOrder.PRICE_ASCENDING))
    assert [(entry.value, entry.count) for entry in found.facets[0].counts] == [("Nike", 3)]
    assert found.candidates.ids == ["b", "c", "a"]


def test_browsing() -> None:
    """Without words and vectors the index itself orders, counts and filters, excluded ids left out."""
    index = FakeIndex()
    asked_for = query("", None, facets=("brand",), sort=SortOrder.NEWEST, limit=1, excluded_ids=("a",), filter=WISH)
    found = retrieve(index, "t", asked_for)
    assert index.browsed == [(Narrowing((WISH,), ("a",)), SortOrder.NEWEST, 1)]
    assert found.facets[0].counts[0].value == "whole catalogue"
    assert (found.candidates.ids, found.total_size) == (["b"], 1)


def test_costly_columns_only_where_needed() -> None:
    """Vectors and attributes are fetched only where the answer or a facet needs them."""
    index = FakeIndex()
    retrieve(index, "t", query(facets=("brand",)))
    retrieve(index, "t", query(facets=("attributes.colour",), with_vectors=True))
    plain, costly = (search.columns for search in index.searches)
    assert (plain.vectors, plain.attributes) == (False, False)
    assert (costly.vectors, costly.attributes) == (True, True)


def test_a_bad_query_asks_nothing() -> None:
    """A query out of its bounds is refused before the index is asked."""
    index = FakeIndex()
    with pytest.raises(InvalidArgument):
        retrieve(index, "t", query(limit=0))
    assert index.searches == []


def test_lookup_in_order() -> None:
    """Products by id come in the order asked for, each once; ids that nobody knows are named, each once."""
    index: ProductIndex = FakeIndex()
    found, missing = lookup(index, "t", ["c", "x", "a", "c", "x"], Columns())
    assert (found.ids, missing) == (["c", "a"], ["x"])
