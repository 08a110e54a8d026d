"""Retrieval over an index whose legs can fail: what is asked of it, and what the answer reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.common.errors import Conflict, InvalidArgument
from services.common.filters import ProductFilter, SortOrder
from services.retrieval.domain.candidates import Candidates, IndexedProduct
from services.retrieval.domain.cursor import Cursor, Position
from services.retrieval.domain.facets import Facet
from services.retrieval.domain.fusion import FixedFusion
from services.retrieval.domain.legs import KeyArray, Leg, LegHits, Source
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.domain.retrieval import DegradationReason, Retrieval
from services.retrieval.ports import Browse, Columns, Found, Narrowing, Page, ProductIndex, Reembedding, Vectors
from services.retrieval.search import Retriever, lookup
from tests.unit.retrieval.products import candidates

EAST = np.array([[0, 1]], np.float32)
NIKE = ProductFilter(brands=("Nike",))
IDS = "abc"


@dataclass
class FakeIndex:
    """Three products, of which `nikes` are Nike's. `broken`: the sources that fail, or "refused"."""

    broken: tuple[str, ...] = ()
    version: str = "m@1"
    nikes: tuple[str, ...] = ("b",)
    # Of each batch: its legs, its narrowings.
    batches: list[tuple[list[Leg], list[Narrowing]]] = field(default_factory=list)
    fetched: list[Columns] = field(default_factory=list)
    browsed: list[Browse] = field(default_factory=list)

    def find(
        self,
        tenant: str,
        legs: Sequence[Leg],
        narrowings: Sequence[Narrowing],
        depth: int,
        columns: Columns | None = None,
    ) -> Found:
        self.batches.append((list(legs), list(narrowings)))
        if "refused" in self.broken:
            raise Conflict("another dimension")
        for leg in legs:
            if leg.source in self.broken:
                raise RuntimeError(f"the {leg.source} leg is broken")
        hits = tuple(tuple(self._hits(leg, narrowing) for leg in legs) for narrowing in narrowings)
        return Found(hits, np.empty(0, np.uint32))

    def fetch(self, tenant: str, keys: KeyArray, columns: Columns) -> Candidates:
        self.fetched.append(columns)
        return self._rows([IDS[key] for key in keys])

    def fetch_and_score(
        self, tenant: str, keys: KeyArray, columns: Columns, text: str, unscored: KeyArray
    ) -> tuple[Candidates, dict[int, float]]:
        raise NotImplementedError

    def vectors(self, tenant: str, id: str) -> tuple[FloatArray | None, FloatArray | None]:
        raise NotImplementedError

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        return self._rows([id for id in ids if id in IDS])

    def browse(self, tenant: str, wanted: Browse) -> Page:
        self.browsed.append(wanted)
        narrowing, is_preferred = wanted.narrowing, False
        if wanted.preferred is not None and len(self._matching(wanted.preferred)) >= wanted.preferred_minimum:
            narrowing, is_preferred = wanted.preferred, True
        found = self._matching(narrowing)
        facets = tuple(Facet.of(facet, [("whole catalogue", len(found))]) for facet in wanted.facets)
        return Page(self._rows(found[: wanted.limit]), facets, len(found), is_preferred, Position(1.5, 7))

    def model_version(self, tenant: str) -> str:
        return self.version

    def image_model_version(self, tenant: str) -> str:
        return ""

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None = None,
        other_vectors: Sequence[Vectors] = (),
    ) -> None:
        raise NotImplementedError

    def revision(self, tenant: str) -> None:
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

    def _hits(self, leg: Leg, narrowing: Narrowing) -> LegHits:
        keys = np.array([IDS.index(id) for id in self._matching(narrowing)], np.uint64)
        return LegHits(leg, keys, np.linspace(1, 0.9, len(keys), dtype=np.float32), is_cut=False)

    def _matching(self, narrowing: Narrowing) -> list[str]:
        known = self.nikes if NIKE in narrowing.filters else tuple(IDS)
        return [id for id in known if id not in narrowing.excluded_ids]

    @staticmethod
    def _rows(ids: Sequence[str]) -> Candidates:
        prices = {"a": 3.0, "b": 1.0, "c": 2.0}
        keys = np.array([IDS.index(id) for id in ids], np.uint64)
        return candidates(ids, keys=keys, prices=np.array([prices[id] for id in ids]), brands=["Nike"] * len(ids))


def retrieve(index: FakeIndex, query: RetrievalQuery) -> Retrieval:
    return Retriever(index, FixedFusion("linear", 0.3, 0.7, 1.0, 60)).retrieve("t", query)


def query(text: str = "shoes", vectors: FloatArray | None = EAST, **fields: object) -> RetrievalQuery:
    return RetrievalQuery(text=text, vectors=vectors, model_version="m@1", **fields)  # type: ignore[arg-type]


def asked(index: FakeIndex) -> list[list[str]]:
    """The sources of the legs of each batch."""
    return [[leg.source.value for leg in legs] for legs, _ in index.batches]


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
    assert index.browsed == []


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
    retrieve(index, query(text=" ", vectors=zeros))
    assert len(index.browsed) == 1


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_soft_filter_that_leaves_enough(text: str) -> None:
    """A soft filter is applied while enough candidates match it."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(), query(text, vectors, soft_filter=NIKE, soft_filter_minimum=1))
    assert (found.candidates.ids, found.soft_filter_applied, found.total_size) == (["b"], True, 1)


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_soft_filter_that_leaves_too_little(text: str) -> None:
    """A soft filter that leaves too few candidates is not applied, and the answer says so."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(), query(text, vectors, soft_filter=NIKE, soft_filter_minimum=2))
    assert (found.candidates.ids, found.soft_filter_applied) == (["a", "b", "c"], False)
    assert found.total_size == 3


@pytest.mark.parametrize("text", ["shoes", ""], ids=["search", "browse"])
def test_a_soft_filter_needs_no_more_than_the_limit(text: str) -> None:
    """A request for one candidate needs one product that matches the soft filter."""
    vectors = EAST if text else None
    found = retrieve(FakeIndex(), query(text, vectors, soft_filter=NIKE, soft_filter_minimum=10, limit=1))
    assert (found.candidates.ids, found.soft_filter_applied) == (["b"], True)


def test_without_a_soft_filter() -> None:
    """Without a soft filter none is applied."""
    assert not retrieve(FakeIndex(), query()).soft_filter_applied


def test_facets_and_order_of_candidates() -> None:
    """For a query, facets are counted over the candidates, and the sort orders them."""
    found = retrieve(FakeIndex(), query(facets=("brand",), sort=SortOrder.PRICE_ASCENDING))
    assert [(entry.value, entry.count) for entry in found.facets[0].counts] == [("Nike", 3)]
    assert found.candidates.ids == ["b", "c", "a"]


def test_browsing() -> None:
    """Without words and vectors the index itself filters, orders and counts."""
    index = FakeIndex()
    asked_for = query("", None, facets=("brand",), sort=SortOrder.NEWEST, limit=1, excluded_ids=("a",), filter=NIKE)
    found = retrieve(index, asked_for)
    (page,) = index.browsed
    assert (page.narrowing, page.preferred) == (Narrowing((NIKE,), ("a",)), None)
    assert (page.sort, page.limit, page.after, page.facets) == (SortOrder.NEWEST, 1, None, ("brand",))
    assert found.facets[0].counts[0].value == "whole catalogue"
    assert (found.candidates.ids, found.total_size) == (["b"], 1)


def test_costly_columns_only_where_needed() -> None:
    """Vectors and attributes are fetched only where the answer or a facet needs them."""
    index = FakeIndex()
    retrieve(index, query(facets=("brand",)))
    retrieve(index, query(facets=("attributes.colour",), with_vectors=True))
    plain, costly = index.fetched
    assert (plain.vectors, plain.attributes) == (False, False)
    assert (costly.vectors, costly.attributes) == (True, True)


def test_a_bad_query_asks_nothing() -> None:
    """A query beyond its bounds is refused before the index is called."""
    index = FakeIndex()
    with pytest.raises(InvalidArgument):
        retrieve(index, query(limit=0))
    assert index.batches == []


@pytest.mark.parametrize("was_applied", [True, False])
def test_later_pages(was_applied: bool) -> None:
    """A later page begins behind the one before and keeps its decision about the soft filter."""
    index = FakeIndex(nikes=())
    cursor = Cursor(SortOrder.NEWEST, Position(2.5, 3), was_applied)
    found = retrieve(index, query("", None, sort=SortOrder.NEWEST, soft_filter=NIKE, cursor=cursor))
    (page,) = index.browsed
    assert (page.after, page.preferred) == (Position(2.5, 3), None)
    assert (NIKE in page.narrowing.filters) == found.soft_filter_applied == was_applied
    assert found.next == Cursor(SortOrder.NEWEST, Position(1.5, 7), was_applied)


def test_a_search_has_no_pages() -> None:
    """A page token together with a query is refused by its name."""
    cursor = Cursor(SortOrder.RELEVANCE, Position(None, 3))
    with pytest.raises(InvalidArgument, match=r"^page_token: "):
        retrieve(FakeIndex(), query(cursor=cursor))
    assert retrieve(FakeIndex(), query()).next is None


def test_lookup_in_order() -> None:
    """Products by id come in the order asked for, each once; unknown ids are named, each once."""
    index: ProductIndex = FakeIndex()
    found, missing = lookup(index, "t", ["c", "x", "a", "c", "x"], Columns())
    assert (found.ids, missing) == (["c", "a"], ["x"])
