"""What both Qdrant engines offer for one collection, in terms that name neither."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from services.common.offers import Offer
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.item_spaces import ItemSpace
from services.retrieval.adapters.points import PointData, Where
from services.retrieval.adapters.records import Record
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.legs import KeyArray
from services.retrieval.domain.query import FloatArray
from services.retrieval.ports import Columns, Revision

Read = Callable[[], Any]
_EVERYWHERE = Where()


@dataclass(frozen=True)
class VectorQuery:
    """The `limit` points within `where` whose vector `using` is nearest to `vector`.

    `exact`: each point is compared, the vector graph is not used.
    """

    vector: list[float] | SparseWeights
    using: str
    limit: int
    where: Where = field(default_factory=Where)
    exact: bool = False


@dataclass(frozen=True)
class Hits:
    """Best first, of no particular order among equal scores: `keys` [n], `scores` [n].

    `records` by key, if they were asked for.
    """

    keys: KeyArray
    scores: FloatArray
    records: Mapping[int, Record] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Sequence[int], scores: Sequence[float], records: Mapping[int, Record] | None = None) -> Hits:
        return cls(np.array(keys, np.uint64), np.array(scores, np.float32), records or {})


class Collection(Protocol):
    """One tenant's points. `columns`: the least that each record holds."""

    @property
    def model_version(self) -> str:
        """Of the dense vectors; empty before the first one."""

    @property
    def dimensions(self) -> int:
        """Of the dense vectors; 0 before the first one."""

    @property
    def image_model_version(self) -> str:
        """Of the image vectors; empty before the first one."""

    @property
    def image_dimensions(self) -> int:
        """Of the image vectors; 0 before the first one."""

    @property
    def identity(self) -> Hashable:
        """Equal for the same collection, also if it was opened again."""

    @property
    def revision(self) -> int | None:
        """Changes with every write. None while one happens, and where other processes write."""

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        """From now on points may have vectors of this name, DENSE or IMAGE. Only once for each."""

    @property
    def item_spaces(self) -> tuple[ItemSpace, ...]:
        """The versions of item vectors, oldest first."""

    def begin_items(self, model_version: str, dimensions: int, map: FloatArray | None) -> ItemSpace:
        """From now on points may have item vectors of this version, which is not there yet."""

    def complete_items(self, space: ItemSpace) -> None: ...

    def drop_items(self, space: ItemSpace) -> None: ...

    def item_map(self, space: ItemSpace) -> FloatArray | None:
        """[rows, dimensions] float32; None if the version has none."""

    def set_vectors(self, using: str, vectors: Mapping[int, list[float]]) -> None:
        """Of points that exist, by id; their other vectors stay."""

    def vectors(self, ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, list[float]]]:
        """The dense vectors of these names, which must exist, that the points have, by id and name."""

    def upsert(self, points: Sequence[PointData]) -> None: ...

    def delete(self, ids: Sequence[int]) -> None: ...

    def offers(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        """Of each of these points, removed ones too. Points that do not exist have none."""

    def offers_of_others(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        """As `offers`, if other processes may have written some that this one does not know; else nothing."""

    def set_offers(self, offers: Sequence[tuple[int, Offer]]) -> None:
        """By ids of points that exist. Durable when it returns. They replace what is stored, which must be older."""

    def query(self, queries: Sequence[VectorQuery], columns: Columns | None = None) -> list[Hits]:
        """All queries as one batch, answers in their order. `columns` None: without records."""

    def retrieve(self, ids: Sequence[int], columns: Columns) -> dict[int, Record]:
        """The records of those that exist."""

    def points(self, ids: Sequence[int]) -> list[PointData]:
        """All that is stored of those that exist, in any order."""

    def page(self, start: int, limit: int, where: Where = _EVERYWHERE) -> tuple[list[int], int]:
        """(ids from `start` on, ascending; where the next page starts, 0 after the last one)."""

    def count(self, where: Where) -> int: ...

    def at_once(self, reads: Sequence[Read]) -> list[Any]:
        """The results of independent reads of this collection, which go to a remote engine in parallel."""


@dataclass(frozen=True)
class Pair:
    """A tenant's collections: `live` answers searches, `staged` has the same products under another model."""

    live: Collection | None = None
    staged: Collection | None = None
    # `staged` was live before and is kept for a switch back. False: it is being filled.
    staged_is_previous: bool = False


class Collections(Protocol):
    """The collections of all tenants. All changes of roles are atomic and survive the death of the process."""

    def get(self, tenant: str) -> Collection | None:
        """The live one, for searches; None for a tenant that has none. Another process' switch shows soon."""

    def catalogue(self, tenant: str) -> Catalogue | None:
        """The products of the live collection in memory; the staged one has the same. None for a tenant without one.

        Whoever writes products to the collections writes them to the catalogue as well.
        """

    def revision(self, tenant: str) -> Revision | None:
        """See ports.ProductIndex."""

    def known_pair(self, tenant: str) -> Pair:
        """Both, for searches. Another process' switch shows soon."""

    def pair(self, tenant: str) -> Pair:
        """Both, as they are at this moment, for writes."""

    def create(self, tenant: str) -> Collection:
        """An empty live one, which replaces all that is there."""

    def create_staged(self, tenant: str, model_version: str, dimensions: int) -> Collection:
        """An empty staged one for vectors of this model. The tenant must have none yet."""

    def switch(self, tenant: str) -> None:
        """The staged one becomes live, and the live one staged."""

    def drop_staged(self, tenant: str) -> None: ...

    def faq(self, tenant: str) -> Collection | None:
        """The collection of the FAQ: see faq_points.py. None for a tenant that never had an entry."""

    def create_faq(self, tenant: str) -> Collection:
        """An empty one, which replaces one that is there."""

    def check(self) -> None:
        """Raise when the engine cannot answer."""

    def close(self) -> None: ...
