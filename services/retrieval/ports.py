"""What retrieval needs from a vector engine: one index of products, one collection a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.retrieval.domain.candidates import Candidates, Facet, IndexedProduct
from services.retrieval.domain.filters import ProductFilter, SortOrder
from services.retrieval.domain.query import FloatArray


@dataclass(frozen=True)
class Narrowing:
    """Products that match all of `filters` and are none of `excluded_ids`."""

    filters: tuple[ProductFilter, ...] = ()
    excluded_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Which of the costly columns an answer holds; the others are always there."""

    vectors: bool = False
    products: bool = True
    fingerprints: bool = False
    attributes: bool = False
    words: bool = False


@dataclass(frozen=True)
class Search:
    """All halves for which there is something: words, vectors, a picture. At least one of them is there.

    `vectors`: shape [rows, dimensions], none of them zero, `weights` one a row. `image`: shape [dimensions].
    """

    text: str
    vectors: FloatArray | None
    weights: tuple[float, ...]
    narrowing: Narrowing
    limit: int
    columns: Columns
    image: FloatArray | None = None


@dataclass(frozen=True)
class Vectors:
    """Of the products of one batch: shape [products, dimensions]; a zero row means that it has none."""

    values: FloatArray
    model_version: str


class ProductIndex(Protocol):
    """A tenant without products has an empty collection: nothing is found in it, and nothing fails.

    Writes are durable when they return and happen as a whole or not at all. Any engine's error may come out of the
    methods; errors of `services.common.errors` are for the caller.
    """

    def upsert(
        self, tenant: str, products: Sequence[IndexedProduct], vectors: Vectors | None, images: Vectors | None = None
    ) -> None:
        """Row i of `vectors` and of `images` belongs to products[i].

        Raises Conflict when the collection holds vectors of another model version or of other dimensions.
        """

    def vector(self, tenant: str, id: str, *, image: bool) -> FloatArray | None:
        """Of one product's picture or text, shape [dimensions]; None where it has none. Raises NotFound."""

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        """The ids that were not there."""

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        """Those found, in the order asked for, scores 0."""

    def search(self, tenant: str, search: Search) -> tuple[Candidates, int]:
        """Best first, and how many candidates were found before `limit` cut them."""

    def browse(self, tenant: str, narrowing: Narrowing, sort: SortOrder, limit: int, columns: Columns) -> Candidates:
        """In the order of the whole catalogue; of no particular order, but always the same, by RELEVANCE."""

    def facet(self, tenant: str, field: str, narrowing: Narrowing) -> Facet:
        """`field` is category, brand or attributes.<name>."""

    def count(self, tenant: str, narrowing: Narrowing) -> int: ...

    def model_version(self, tenant: str) -> str:
        """Of the collection's vectors; empty where it has none."""

    def image_model_version(self, tenant: str) -> str:
        """Of the pictures' vectors; empty where the collection has none."""

    def check(self) -> None:
        """Raise when the engine cannot answer. Cheap."""

    def close(self) -> None: ...
