"""What both Qdrant engines offer for one collection, in terms that name neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.points import PointData, Where
from services.retrieval.adapters.records import Record
from services.retrieval.ports import Columns


@dataclass(frozen=True)
class Leg:
    """One nearest-neighbour search: a vector of the space `using`, or the words of a text."""

    vector: list[float] | SparseWeights
    limit: int
    using: str


@dataclass(frozen=True)
class ReciprocalRanks:
    """Sum of weight / (k + rank) over the legs."""

    k: int
    weights: tuple[float, ...]


@dataclass(frozen=True)
class DistributionBased:
    """Scores scaled by mean and three standard deviations of each half, added up."""


@dataclass(frozen=True)
class Scaled:
    """Sum of weight * (score - floor) / (top - floor) over the legs that found a point."""

    weights: tuple[float, ...]
    floors: tuple[float, ...]
    tops: tuple[float, ...]

    def terms(self) -> list[tuple[float, float]]:
        """(scale, floor) of each half: it adds scale * (score - floor). A half without a spread adds nothing."""
        return [
            (weight / (top - floor) if top > floor else 0.0, floor)
            for weight, floor, top in zip(self.weights, self.floors, self.tops, strict=True)
        ]


Fusion = ReciprocalRanks | DistributionBased | Scaled


@dataclass(frozen=True)
class Hit:
    """`record` is there where it was asked for."""

    id: int
    score: float = 0.0
    record: Record | None = None


class Collection(Protocol):
    """One tenant's points. `columns` says what the record of each hit holds at least; None: no record."""

    @property
    def model_version(self) -> str:
        """Of the dense vectors; empty before the first one."""

    @property
    def dimensions(self) -> int:
        """Of the dense vectors; 0 before the first one."""

    @property
    def image_model_version(self) -> str:
        """Of the pictures' vectors; empty before the first one."""

    @property
    def image_dimensions(self) -> int:
        """Of the pictures' vectors; 0 before the first one."""

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        """From now on points may have vectors of this name, DENSE or IMAGE. Only once for each."""

    def upsert(self, points: Sequence[PointData]) -> None: ...

    def delete(self, ids: Sequence[int]) -> None: ...

    def retrieve(self, ids: Sequence[int], columns: Columns) -> list[Hit]:
        """Those that exist, in any order."""

    def vector(self, id: int, using: str) -> list[float] | None:
        """Of one point, scaled to length 1; None where it has none of this name, or does not exist."""

    def points(self, ids: Sequence[int]) -> list[PointData]:
        """All that is stored of those that exist, in any order."""

    def page(self, start: int, limit: int) -> tuple[list[int], int]:
        """(ids from `start` on, ascending; where the next page starts, 0 after the last one)."""

    def nearest(self, half: Leg, where: Where, columns: Columns | None = None, *, exact: bool = False) -> list[Hit]:
        """Best first, at most `half.limit`. `exact`: each point is compared, the vector graph is not used."""

    def fused(self, legs: Sequence[tuple[Leg, Where]], fusion: Fusion, limit: int, columns: Columns) -> list[Hit]:
        """Best first, at most `limit`."""

    def ordered(self, key: str, descending: bool, where: Where, limit: int, columns: Columns) -> list[Hit]:
        """Only points that have the field."""

    def scroll(self, where: Where, limit: int, columns: Columns) -> list[Hit]:
        """By point id."""

    def facet(self, key: str, where: Where, limit: int) -> list[tuple[str, int]]: ...

    def count(self, where: Where) -> int: ...


@dataclass(frozen=True)
class Pair:
    """A tenant's collections: `live` answers searches, `beside` has the same products under another model."""

    live: Collection | None = None
    staged: Collection | None = None
    # `beside` was live before: it is kept for a way back. Else it is being filled.
    staged_is_previous: bool = False


class Collections(Protocol):
    """The collections of all tenants. All changes of who is live are atomic and survive the death of the process."""

    def get(self, tenant: str) -> Collection | None:
        """The live one, for searches; None for a tenant that has none yet. Another process' switch shows soon."""

    def pair(self, tenant: str) -> Pair:
        """As they are at this moment, for writes."""

    def create(self, tenant: str) -> Collection:
        """An empty live one; instead of all that is there."""

    def create_staged(self, tenant: str, model_version: str, dimensions: int) -> Collection:
        """An empty one for vectors of this model, beside the live one; there is none beside it yet."""

    def switch(self, tenant: str) -> None:
        """The one beside is live from now on, and the live one beside it."""

    def drop_staged(self, tenant: str) -> None: ...

    def check(self) -> None:
        """Raise when the engine cannot answer."""

    def close(self) -> None: ...
