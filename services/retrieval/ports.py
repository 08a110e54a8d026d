"""What retrieval needs from a vector engine: one index of products, for each tenant one collection that answers
searches, and a staged one while the catalogue is re-embedded.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from services.common.faq import FaqEntry
from services.common.offers import Offer
from services.common.visibility import Moderated
from services.retrieval.domain.candidates import Candidates, IndexedProduct, ReviewSummary
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.faq.matching import FaqMatch
from services.retrieval.domain.item_vectors import ItemVectorsState
from services.retrieval.domain.learned_fusion import LearnedFusion
from services.retrieval.domain.legs import KeyArray, Leg, LegHits
from services.retrieval.domain.query import FloatArray
from services.retrieval.domain.reembedding import PairState, SearchCheck, Unembedded

# Names one state of a tenant's index; never used again for another state, nor for another tenant.
Revision = Hashable


@dataclass(frozen=True)
class Narrowing:
    """Only the products of `keys`, None: all; and none of `excluded`."""

    keys: KeyArray | None = None
    excluded: KeyArray | None = None


@dataclass(frozen=True)
class Columns:
    """Which of the costly columns an answer holds; the others are always there."""

    vectors: bool = False
    products: bool = True
    fingerprints: bool = False
    heading_terms: bool = False


@dataclass(frozen=True)
class Found:
    """`hits`: for each narrowing, what each leg found; legs that the collection cannot answer are absent.

    `query_terms`: numbers of the words of the lexical leg. `candidates`: all products found, unordered, if columns were
    asked for.
    """

    hits: tuple[tuple[LegHits, ...], ...]
    query_terms: npt.NDArray[np.uint32]
    candidates: Candidates | None = None


@dataclass(frozen=True)
class Vectors:
    """Of the products of one batch: shape [products, dimensions]; a zero row means that a product has none."""

    values: FloatArray
    model_version: str


@dataclass(frozen=True)
class OfferUpdate:
    """What became of offers. `missing_ids`: products that are not there, each once; nothing is stored of their offers.

    `updated` and `stale` count offers.
    """

    updated: int
    stale: int
    missing_ids: list[str]


class Reembedding(Protocol):
    """A staged collection of the same products with another model's vectors, and the switch to it.

    While there is one, every write goes to both collections: a product that came without vectors of its model is
    missing in it until it is stored. Raises Conflict, which names the remedy, if the state does not allow a step.
    """

    def describe(self, tenant: str) -> PairState: ...

    def begin(self, tenant: str, model_version: str, dimensions: int) -> None:
        """Creates the staged collection; one of the same model that is there already is kept."""

    def unembedded(self, tenant: str, start: int, limit: int) -> Unembedded:
        """What is missing among the next `limit` products of the live collection; `start` 0: from the first."""

    def store(self, tenant: str, ids: Sequence[str], fingerprints: Sequence[bytes], vectors: Vectors) -> int:
        """Copies products of the live collection to the staged one, with these vectors; row i belongs to ids[i].

        Returns how many: products that were removed or have another fingerprint by now are skipped.
        """

    def check(self, tenant: str, sample: int) -> SearchCheck:
        """Of at most `sample` products."""

    def switch(self, tenant: str, model_version: str) -> None:
        """Makes the collection of this model live and the other one staged. Repeating it changes nothing."""

    def drop(self, tenant: str, model_version: str) -> None:
        """Removes the staged collection, which must be of this model. Does nothing if there is none."""


class ItemVectors(Protocol):
    """Versions of item vectors in the live collection, at most MAX_VERSIONS. Raises Conflict, which names the remedy.

    They belong to the collection: a staged collection has none of its own until it is live and some are begun in it.
    """

    def describe(self, tenant: str) -> list[ItemVectorsState]:
        """The oldest version first."""

    def begin(self, tenant: str, model_version: str, dimensions: int, map: Vectors | None) -> None:
        """Creates a version, empty; one that is there already is kept. `map` [rows, dimensions]: see `mapped`; its
        version is that of the text vectors.
        """

    def store(
        self, tenant: str, model_version: str, ids: Sequence[str], vectors: Vectors | None, is_complete: bool
    ) -> int:
        """Row i of `vectors` belongs to ids[i]. Returns how many products there are of them.

        With `is_complete` the others get the vector of the map, and then the version answers searches.
        """

    def drop(self, tenant: str, model_version: str) -> None:
        """Does nothing if there is none."""


class ShadowVersion(NamedTuple):
    """The model version of its vectors, and the name of its trial."""

    model_version: str
    trial: str


class Fusions(Protocol):
    """The learned fusions, of the settings and of the text versions in use."""

    def of(self, tenant: str, model_version: str) -> LearnedFusion | None:
        """For searches of a collection whose vectors are of `model_version`; None: the fixed weights."""

    def in_shadow(self, tenant: str) -> ShadowVersion | None:
        """The text version in shadow; None if there is none."""

    def close(self) -> None: ...


class ProductIndex(Protocol):
    """A tenant without products has an empty collection: searches find nothing in it and do not fail.

    Writes are durable when they return and happen as a whole or not at all. Any engine's error may come out of the
    methods; errors of `services.common.errors` are for the caller. `find`, `fetch`, `fetch_and_score` and `vectors`
    each make one round trip to the engine; `catalogue` makes none.
    """

    @property
    def reembedding(self) -> Reembedding: ...

    @property
    def item_vectors(self) -> ItemVectors: ...

    def pinned(self, tenant: str, model_version: str = "") -> ProductIndex:
        """The same index for one request: its reads for this tenant all come from one collection.

        That is the one that is live now; or the staged one, if its vectors are of `model_version`, it is complete, and
        a text version of the tenant's registry is in use.
        """

    def revision(self, tenant: str, model_version: str = "") -> Revision | None:
        """The state of what answers the tenant's searches that begin with a vector of `model_version`. As long as it is
        the same, equal queries have equal answers.

        None while it changes, and if it is unknown: for a tenant without products, and where other processes write.
        """

    def catalogue(self, tenant: str) -> Catalogue | None:
        """The products in memory, which every write changes as well. None for a tenant without products."""

    def words(self, text: str) -> tuple[int, ...]:
        """The numbers of the words of a text, as the columns of the catalogue have them; none for stop words alone."""

    def with_phrases(self, products: Sequence[bytes], phrases: Sequence[str]) -> npt.NDArray[np.bool_]:
        """[products]: whether a title or a description of each serialised product has each phrase, word by word."""

    def keys(self, ids: Sequence[str]) -> KeyArray:
        """The number of each product, whether it exists or not."""

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None = None,
        other_vectors: Sequence[Vectors] = (),
    ) -> None:
        """Row i of `vectors`, `images` and each of `other_vectors` belongs to products[i].

        `other_vectors` are of further models: each collection takes those of its own. Raises Conflict if there are
        only vectors of models, or of dimensions, that no collection of the tenant has.
        """

    def set_moderation(self, tenant: str, changes: Mapping[str, Moderated | None]) -> list[str]:
        """By product id what moderation says now; None: nothing. Returns the ids that were not there."""

    def set_review_summaries(self, tenant: str, changes: Mapping[str, ReviewSummary | None]) -> list[str]:
        """As `set_moderation`: what the reviews of the products say together."""

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        """Returns the ids that were not there."""

    def update_offers(self, tenant: str, offers: Sequence[tuple[str, Offer]]) -> OfferUpdate:
        """(product id, offer) each. Every offer is stored as a whole; if the process dies, some of them may not be.

        Raises InvalidArgument, with paths such as offers[3].place_id, beyond the bounds of the tenant's offers: nothing
        is changed then.
        """

    def find(
        self,
        tenant: str,
        legs: Sequence[Leg],
        narrowings: Sequence[Narrowing],
        depth: int,
        columns: Columns | None = None,
    ) -> Found:
        """All legs within all narrowings, at most `depth` hits each, as one batch.

        `columns`: read the candidates in the same round trip. For a search that cannot afford another one.
        """

    def fetch(self, tenant: str, keys: KeyArray, columns: Columns) -> Candidates:
        """Those that are still there, in the order of `keys`, scores 0."""

    def fetch_and_score(
        self, tenant: str, keys: KeyArray, columns: Columns, text: str, unscored: KeyArray
    ) -> tuple[Candidates, dict[int, float]]:
        """As `fetch`; and by key the BM25 scores of those of `unscored` that share a word with `text`."""

    def vectors(self, tenant: str, id: str) -> tuple[FloatArray | None, FloatArray | None]:
        """(text vector, image vector) of one product; None if it has none. Raises NotFound."""

    def text_and_image_vectors(self, tenant: str, keys: KeyArray) -> tuple[Vectors | None, Vectors | None]:
        """Of length 1, row i of keys[i], zeros for a product without one; None if the collection has no such ones."""

    def item_dimensions(self, tenant: str, model_version: str) -> int:
        """Length of the item vectors of this version; 0 if they are not there, or not complete."""

    def item_vectors_of(self, tenant: str, model_version: str, ids: Sequence[str]) -> FloatArray:
        """[n, dimensions] of those of these products that have one."""

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        """Those found, in the order asked for, scores 0."""

    def model_version(self, tenant: str) -> str:
        """Of the collection's vectors; empty if it has none."""

    def image_model_version(self, tenant: str) -> str:
        """Of the image vectors; empty if the collection has none."""

    def check(self) -> None:
        """Raise when the engine cannot answer. Cheap."""

    def close(self) -> None: ...


class FaqAnswer(NamedTuple):
    """`has_answer`: whether the first match is likely enough. `is_unknown_model`: the FAQ has vectors, but none of the
    models that encoded the question, so that only its words were compared.
    """

    matches: tuple[FaqMatch, ...]
    has_answer: bool
    is_unknown_model: bool = False


class FaqIndex(Protocol):
    """The FAQ of each tenant. Writes are durable when they return, each entry as a whole."""

    def upsert(self, tenant: str, entries: Sequence[FaqEntry], vectors: Sequence[Vectors]) -> tuple[int, int]:
        """(stored, unchanged). `vectors`: of each model, one row for each question of the entries in turn.

        Sets versions. Raises Conflict beyond the bounds of a tenant.
        """

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        """Returns the ids that were not there."""

    def entries(self, tenant: str, after_id: str, limit: int) -> list[FaqEntry]:
        """By id, behind `after_id`."""

    def has_entries(self, tenant: str) -> bool | None:
        """Reads nothing: None until the FAQ of the tenant was asked once."""

    def match(
        self, tenant: str, question: str, vectors: Sequence[Vectors], language: str, now_s: float, limit: int
    ) -> FaqAnswer:
        """`vectors`: of the question, one row each. `language`: preferred among entries that answer."""

    def close(self) -> None: ...
