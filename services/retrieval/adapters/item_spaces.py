"""The named vectors of a collection that hold item vectors, and the vectors of products that are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.common.arrays import FloatArray
from services.retrieval.adapters.points import DENSE, IMAGE, ITEMS_PREFIX, PointData
from services.retrieval.domain.item_vectors import MAX_VERSIONS, mapped

if TYPE_CHECKING:
    from services.retrieval.adapters.collection import Collection


@dataclass(frozen=True)
class ItemSpace:
    """The item vectors of one version of the shopper model. `using`: the name of the vector.

    `map_token` names the stored map from a product's vectors to its item vector; empty: there is none.
    """

    using: str
    model_version: str
    dimensions: int
    is_complete: bool = False
    map_token: str = ""


def free_name(spaces: Sequence[ItemSpace]) -> str:
    """The first name that none of them has."""
    taken = {space.using for space in spaces}
    return next(name for name in (f"{ITEMS_PREFIX}{n}" for n in range(1, MAX_VERSIONS + 2)) if name not in taken)


def completed(spaces: Sequence[ItemSpace], using: str) -> tuple[ItemSpace, ...]:
    return tuple(replace(space, is_complete=True) if space.using == using else space for space in spaces)


def without(spaces: Sequence[ItemSpace], using: str) -> tuple[ItemSpace, ...]:
    return tuple(space for space in spaces if space.using != using)


def with_item_vectors(collection: Collection, points: Sequence[PointData]) -> list[PointData]:
    """Points that are about to be written as a whole, with the item vectors of every version of this collection.

    A product that has one keeps it; the others get that of the version's map.
    """
    spaces = collection.item_spaces
    if not spaces or not points:
        return list(points)
    known = collection.vectors([point.id for point in points], [space.using for space in spaces])
    items: list[dict[str, list[float]]] = [dict(known.get(point.id, {})) for point in points]
    for space in spaces:
        new = [row for row in range(len(points)) if space.using not in items[row]]
        map = collection.item_map(space) if new else None
        if map is None:
            continue
        dense, image = ([getattr(points[row], name) for row in new] for name in (DENSE, IMAGE))
        vectors = item_vectors(collection, map, dense, image)
        for row, vector in zip(new, vectors.tolist(), strict=True):
            items[row][space.using] = vector
    return [replace(point, items=its) for point, its in zip(points, items, strict=True)]


def mapped_vectors(collection: Collection, space: ItemSpace, ids: Sequence[int]) -> Mapping[int, list[float]]:
    """Item vectors of stored products by the map of a version that has one."""
    map = collection.item_map(space)
    if map is None:
        return {}
    found = text_and_image_vectors(collection, ids)
    vectors = item_vectors(
        collection,
        map,
        [found.get(id, {}).get(DENSE) for id in ids],
        [found.get(id, {}).get(IMAGE) for id in ids],
    )
    return dict(zip(ids, vectors.tolist(), strict=True))


def text_and_image_vectors(collection: Collection, ids: Sequence[int]) -> dict[int, dict[str, list[float]]]:
    """By id and DENSE or IMAGE, those that there are."""
    spaces = {DENSE: collection.dimensions, IMAGE: collection.image_dimensions}
    return collection.vectors(ids, [using for using, dimensions in spaces.items() if dimensions])


def item_vectors(
    collection: Collection, map: FloatArray, dense: Sequence[list[float] | None], image: Sequence[list[float] | None]
) -> FloatArray:
    """[n, dimensions] of products by their vectors in this collection; None for one without a vector."""
    return mapped(map, rows_of(dense, collection.dimensions), rows_of(image, len(map) - 1 - collection.dimensions))


def rows_of(vectors: Sequence[list[float] | None], dimensions: int) -> FloatArray:
    """[n, dimensions], zeros where there is no vector."""
    rows = np.zeros((len(vectors), dimensions), np.float32)
    for row, vector in enumerate(vectors):
        if vector is not None and dimensions:
            rows[row] = vector
    return rows
