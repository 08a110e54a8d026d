"""How often a search goes to the engine: at most two round trips, one after the other, on both engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.filters import ProductFilter, SortOrder
from services.common.money import Money
from services.common.product import Product
from services.retrieval.adapters.collection import Collection, Collections, Pair, Read
from services.retrieval.adapters.fusion_model import save_fusion
from services.retrieval.domain.cursor import Cursor, Position
from services.retrieval.domain.learned_fusion import FEATURES, FusionNetwork
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.ports import Vectors
from services.retrieval.search import Retriever
from services.retrieval.settings import FusionSettings, RetrievalSettings
from services.retrieval.wiring import retriever_over
from tests.integration.retrieval_engines import ENGINES, collections_of, indexed

ONE = np.array([[1, 0, 0]], np.float32)
SOME = ProductFilter(brands=("Klarvox",))
BOTH: dict[str, Any] = {"text": "lamp", "vectors": ONE, "model_version": "m@1"}


class CountingCollection:
    """Passes everything on and notes each round trip: the names of the reads that went together."""

    def __init__(self, collection: Collection, trips: list[set[str]]) -> None:
        self._collection = collection
        self._trips = trips
        self._together: set[str] | None = None

    def at_once(self, reads: Sequence[Read]) -> list[Any]:
        self._together = set()
        results = [read() for read in reads]
        if self._together:
            self._trips.append(self._together)
        self._together = None
        return results

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._collection, name)
        if name not in ("query", "retrieve", "points", "page", "ordered", "scroll", "facet", "count"):
            return found

        def counted(*arguments: Any, **more: Any) -> Any:
            if self._together is None:
                self._trips.append({name})
            else:
                self._together.add(name)
            return found(*arguments, **more)

        return counted


class CountingCollections:
    """Searches go through a CountingCollection, writes do not."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self.trips: list[set[str]] = []

    def get(self, tenant: str) -> Any:
        return self._counting(self._collections.get(tenant))

    def known_pair(self, tenant: str) -> Pair:
        pair = self._collections.known_pair(tenant)
        return Pair(self._counting(pair.live), self._counting(pair.staged), pair.staged_is_previous)

    def _counting(self, collection: Collection | None) -> Any:
        return None if collection is None else CountingCollection(collection, self.trips)

    def pair(self, tenant: str) -> Pair:
        return self._collections.pair(tenant)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collections, name)


@pytest.fixture(params=ENGINES)
def counted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CountingCollections]:
    collections = CountingCollections(collections_of(request.param, tmp_path / "index"))
    index = retriever_over(collections, RetrievalSettings()).index
    catalogue = [
        Product(
            id=f"p{number}",
            title=f"lamp {number}" if number % 2 else f"table {number}",
            brand="Klarvox" if number % 3 else "Pacelane",
            price=Money.from_units("USD", number % 4, 0) if number % 5 else None,
        )
        for number in range(40)
    ]
    random = np.random.default_rng(0)
    vectors, images = random.normal(size=(2, 40, 3)).astype(np.float32)
    images[0] = 0
    index.upsert("t", indexed(catalogue), Vectors(vectors, "m@1"), Vectors(images, "i@1"))
    yield collections
    collections.close()


def retriever(counted: CountingCollections, learned: Path | None = None) -> Retriever:
    fusion = FusionSettings()
    if learned is not None:
        zeros, ones = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)
        one = np.ones(1, np.float32)
        save_fusion(FusionNetwork(zeros, ones, ones[:, np.newaxis], one, one), learned, {})
        fusion = FusionSettings(method="learned", model_dir=learned)
    return retriever_over(counted, RetrievalSettings(fusion=fusion))


@pytest.mark.parametrize(
    ("fields", "trips"),
    [
        (BOTH, [{"query"}, {"retrieve"}]),
        ({"text": "lamp"}, [{"query"}, {"retrieve"}]),
        (BOTH | {"soft_filter": SOME}, [{"query"}, {"retrieve"}]),
        (BOTH | {"filter": SOME, "facets": ("brand",), "with_vectors": True}, [{"query"}, {"retrieve"}]),
        (BOTH | {"image": ONE, "image_model_version": "i@1"}, [{"query"}, {"retrieve"}]),
        ({"image": ONE, "image_model_version": "i@1"}, [{"query"}, {"retrieve"}]),
        ({"vectors": np.eye(3, dtype=np.float32), "model_version": "m@1"}, [{"query"}, {"retrieve"}]),
        ({"similar_to_id": "p1"}, [{"points"}, {"query"}]),
        ({"similar_to_id": "p0", "soft_filter": SOME}, [{"points"}, {"query"}]),
        (BOTH | {"similar_to_id": "p1"}, [{"points"}, {"query"}]),
    ],
)
def test_a_search(counted: CountingCollections, fields: dict[str, Any], trips: list[set[str]]) -> None:
    """All legs go as one batch, with and without the soft filter; the payload is read once."""
    found = retriever(counted).retrieve("t", RetrievalQuery(**fields))
    assert len(found.candidates) > 0
    assert not [degradation for degradation in found.degradations if degradation.fallback != "similar text"]
    assert counted.trips == trips


@pytest.mark.parametrize("soft_filter", [ProductFilter(), SOME])
def test_a_learned_fusion(counted: CountingCollections, soft_filter: ProductFilter, tmp_path: Path) -> None:
    """The scores that the lexical leg did not give are computed while the payload is read."""
    learned = retriever(counted, tmp_path / "fusion")
    found = learned.retrieve("t", RetrievalQuery(**BOTH, soft_filter=soft_filter))
    assert len(found.candidates) > 0
    assert counted.trips == [{"query"}, {"retrieve", "query"}]


def test_a_learned_fusion_and_a_similar_product(counted: CountingCollections, tmp_path: Path) -> None:
    """A search with similar_to_id has no third round trip for a learned fusion either."""
    learned = retriever(counted, tmp_path / "fusion")
    learned.retrieve("t", RetrievalQuery(text="lamp", similar_to_id="p0"))
    assert counted.trips == [{"points"}, {"query"}]


@pytest.mark.parametrize("sort", SortOrder)
@pytest.mark.parametrize("soft_filter", [ProductFilter(), SOME])
@pytest.mark.parametrize("position", [None, Position(None, 2**62), Position(2.0, 2**62)])
def test_browsing(
    counted: CountingCollections, sort: SortOrder, soft_filter: ProductFilter, position: Position | None
) -> None:
    """A page is one read: its order, its total and its facets come from the columns of the catalogue."""
    cursor = None if position is None else Cursor(sort, position, soft_filter_applied=True)
    found = retriever(counted).retrieve(
        "t",
        RetrievalQuery(sort=sort, limit=5, facets=("brand", "category"), soft_filter=soft_filter, cursor=cursor),
    )
    assert len(found.candidates) > 0
    assert found.facets[0].counts
    assert counted.trips == [{"retrieve"}]
