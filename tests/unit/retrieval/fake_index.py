"""An index of three products whose legs can fail and take time, and a query that it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from services.common.errors import Conflict
from services.common.filters import ProductFilter
from services.common.money import Money
from services.common.offers import Offer
from services.common.product import Product
from services.common.visibility import Moderated
from services.retrieval.domain.candidates import Candidates, IndexedProduct, ReviewSummary
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.domain.fusion import FixedFusion
from services.retrieval.domain.legs import KeyArray, Leg, LegHits
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.ports import (
    Columns,
    Found,
    ItemVectors,
    Narrowing,
    OfferUpdate,
    ProductIndex,
    Reembedding,
    Vectors,
)
from tests.unit.retrieval.products import candidates

FIXED = FixedFusion("linear", 0.3, 0.7, 1.0, 60)
EAST = np.array([[0, 1]], np.float32)
NIKE = ProductFilter(brands=("Nike",))
IDS = "abc"
PRICES = {"a": Decimal(3), "b": Decimal(1), "c": Decimal(2)}


@dataclass
class FakeIndex:
    """Three products, of which `nikes` are Nike's. `broken`: the sources that fail, or "refused". `known_words`: words
    that all products contain; a query of other words has only candidates.

    Each query of a batch takes `query_s` seconds of the clock `now_s`.
    """

    broken: tuple[str, ...] = ()
    version: str = "m@1"
    nikes: tuple[str, ...] = ("b",)
    # Of each batch: its legs, its narrowings.
    batches: list[tuple[list[Leg], list[Narrowing]]] = field(default_factory=list)
    fetched: list[Columns] = field(default_factory=list)
    known_words: tuple[str, ...] = ()
    query_s: float = 0.0
    now_s: float = 0.0

    def find(
        self,
        tenant: str,
        legs: Sequence[Leg],
        narrowings: Sequence[Narrowing],
        depth: int,
        columns: Columns | None = None,
    ) -> Found:
        self.batches.append((list(legs), list(narrowings)))
        self.now_s += self.query_s * len(legs) * len(narrowings)
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

    def catalogue(self, tenant: str) -> Catalogue:
        catalogue = Catalogue()
        words = range(len(self.known_words))
        catalogue.columns.replace([Entry(key, self._product(id), words) for key, id in enumerate(IDS)])
        return catalogue

    def words(self, text: str) -> tuple[int, ...]:
        return tuple(self.known_words.index(word) for word in text.split() if word in self.known_words)

    def with_phrases(self, products: Sequence[bytes], phrases: Sequence[str]) -> npt.NDArray[np.bool_]:
        raise NotImplementedError

    def keys(self, ids: Sequence[str]) -> KeyArray:
        return np.array([IDS.index(id) for id in ids], np.uint64)

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

    def update_offers(self, tenant: str, offers: Sequence[tuple[str, Offer]]) -> OfferUpdate:
        raise NotImplementedError

    def set_moderation(self, tenant: str, changes: Mapping[str, Moderated | None]) -> list[str]:
        raise NotImplementedError

    def set_review_summaries(self, tenant: str, changes: Mapping[str, ReviewSummary | None]) -> list[str]:
        raise NotImplementedError

    def revision(self, tenant: str, model_version: str = "") -> None:
        raise NotImplementedError

    def pinned(self, tenant: str, model_version: str = "") -> ProductIndex:
        return self

    @property
    def reembedding(self) -> Reembedding:
        raise NotImplementedError

    @property
    def item_vectors(self) -> ItemVectors:
        raise NotImplementedError

    def text_and_image_vectors(self, tenant: str, keys: KeyArray) -> tuple[Vectors | None, Vectors | None]:
        raise NotImplementedError

    def item_dimensions(self, tenant: str, model_version: str) -> int:
        return 0

    def item_vectors_of(self, tenant: str, model_version: str, ids: Sequence[str]) -> FloatArray:
        raise NotImplementedError

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        raise NotImplementedError

    def check(self) -> None: ...

    def close(self) -> None: ...

    def _hits(self, leg: Leg, narrowing: Narrowing) -> LegHits:
        keys = np.array([IDS.index(id) for id in self._matching(narrowing)], np.uint64)
        return LegHits(leg, keys, np.linspace(1, 0.9, len(keys), dtype=np.float32), is_cut=False)

    def _matching(self, narrowing: Narrowing) -> list[str]:
        keys = range(len(IDS)) if narrowing.keys is None else narrowing.keys.tolist()
        excluded = () if narrowing.excluded is None else narrowing.excluded.tolist()
        return [IDS[key] for key in keys if key not in excluded]

    def _product(self, id: str) -> Product:
        return Product(id, id, brand="Nike" if id in self.nikes else "Acme", price=Money("USD", PRICES[id]))

    def _rows(self, ids: Sequence[str]) -> Candidates:
        brands = [self._product(id).brand for id in ids]
        return candidates(ids, keys=self.keys(ids), brands=brands)


def query(text: str = "shoes", vectors: FloatArray | None = EAST, **fields: object) -> RetrievalQuery:
    return RetrievalQuery(text=text, vectors=vectors, model_version="m@1", **fields)  # type: ignore[arg-type]


def asked(index: FakeIndex) -> list[list[str]]:
    """The sources of the legs of each batch."""
    return [[leg.source.value for leg in legs] for legs, _ in index.batches]
