"""What retrieval needs from a vector engine: one index of products, one collection a tenant, a second for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.filters import ProductFilter, SortOrder
from services.retrieval.domain.candidates import Candidates, Facet, IndexedProduct
from services.retrieval.domain.query import FloatArray
from services.retrieval.domain.reembedding import PairState, SearchCheck, Unembedded


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
    """All legs for which there is something: words, vectors, a picture. At least one of them is there.

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


class Reembedding(Protocol):
    """A collection beside the live one, of the same products with another model's vectors, and the switch to it.

    While there is one, every write goes to both: a product that came without vectors of its model is missing there
    until it is stored. Raises Conflict where the state does not allow a step, and says what would.
    """

    def describe(self, tenant: str) -> PairState: ...

    def begin(self, tenant: str, model_version: str, dimensions: int) -> None:
        """Where it had begun with the same model, it goes on."""

    def unembedded(self, tenant: str, start: int, limit: int) -> Unembedded:
        """What is missing among the next `limit` products of the live collection; `start` 0: from the first."""

    def store(self, tenant: str, ids: Sequence[str], fingerprints: Sequence[bytes], vectors: Vectors) -> int:
        """Put products there as they are in the live one, with these vectors; row i belongs to ids[i].

        How many: without those that are gone or have another fingerprint by now.
        """

    def check(self, tenant: str, sample: int) -> SearchCheck:
        """Of at most `sample` products."""

    def switch(self, tenant: str, model_version: str) -> None:
        """The collection of this model is live from now on, the other one beside it. Once more changes nothing."""

    def drop(self, tenant: str, model_version: str) -> None:
        """The one beside, which has this model. Where there is none, nothing happens."""


class ProductIndex(Protocol):
    """A tenant without products has an empty collection: nothing is found in it, and nothing fails.

    Writes are durable when they return and happen as a whole or not at all. Any engine's error may come out of the
    methods; errors of `services.common.errors` are for the caller.
    """

    @property
    def reembedding(self) -> Reembedding: ...

    def pinned(self, tenant: str) -> ProductIndex:
        """The same index for one search: all it answers for this tenant comes from the collection that is live now."""

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None = None,
        other_vectors: Sequence[Vectors] = (),
    ) -> None:
        """Row i of `vectors`, `images` and each of `other_vectors` belongs to products[i].

        `other_vectors` are of further models: each collection takes those of its own. Raises Conflict when there are
        only vectors of models, or of dimensions, that no collection of the tenant has.
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
