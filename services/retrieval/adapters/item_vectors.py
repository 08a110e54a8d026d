"""Item vectors on Qdrant, Edge and server alike: begun empty, filled beside the live ones, complete, dropped."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from services.common.errors import Conflict
from services.retrieval.adapters.collection import Collection, Collections
from services.retrieval.adapters.item_spaces import ItemSpace, mapped_vectors
from services.retrieval.adapters.points import HasVector, Where, point_id
from services.retrieval.domain.item_vectors import MAX_VERSIONS, ItemVectorsState
from services.retrieval.ports import Columns, Vectors

# Products whose vectors are made by the map while other writes of the tenant wait.
_PAGE = 256


class QdrantItemVectors:
    """See ports.ItemVectors. `writing`: the lock of each tenant that its other writes take as well."""

    def __init__(self, collections: Collections, writing: Mapping[str, threading.Lock]) -> None:
        self._collections = collections
        self._writing = writing

    def describe(self, tenant: str) -> list[ItemVectorsState]:
        live = self._collections.pair(tenant).live
        return [] if live is None else [_state(live, space) for space in live.item_spaces]

    def begin(self, tenant: str, model_version: str, dimensions: int, map: Vectors | None) -> None:
        with self._writing[tenant]:
            live = self._live(tenant)
            space = find_space(live, model_version)
            if space is not None:
                if space.dimensions != dimensions:
                    raise Conflict(
                        f"dimensions: the item vectors of {model_version!r} have {space.dimensions} dimensions, not "
                        f"{dimensions}; drop the version first"
                    )
                return
            if len(live.item_spaces) >= MAX_VERSIONS:
                names = ", ".join(repr(space.model_version) for space in live.item_spaces)
                raise Conflict(
                    f"model_version: there are item vectors of {MAX_VERSIONS} versions already: {names}; drop one first"
                )
            if map is not None:
                _check_map(live, map, dimensions)
            live.begin_items(model_version, dimensions, None if map is None else map.values)

    def store(
        self, tenant: str, model_version: str, ids: Sequence[str], vectors: Vectors | None, is_complete: bool
    ) -> int:
        keys, stored = {point_id(id): row for row, id in enumerate(ids)}, 0
        with self._writing[tenant]:
            live, space = self._begun(tenant, model_version)
            if vectors is not None and keys:
                if vectors.values.shape[1] != space.dimensions:
                    raise Conflict(
                        f"vectors.values.shape: the item vectors of {model_version!r} have {space.dimensions} "
                        f"dimensions, these have {vectors.values.shape[1]}"
                    )
                records = live.retrieve(list(keys), Columns(products=False))
                known = {key: row for key, row in keys.items() if key in records and records[key].id == ids[row]}
                if known:
                    live.set_vectors(space.using, {key: vectors.values[row].tolist() for key, row in known.items()})
                stored = len(known)
        if is_complete:
            self._complete(tenant, model_version)
        return stored

    def drop(self, tenant: str, model_version: str) -> None:
        with self._writing[tenant]:
            live = self._collections.pair(tenant).live
            space = None if live is None else find_space(live, model_version)
            if live is not None and space is not None:
                live.drop_items(space)

    def _complete(self, tenant: str, model_version: str) -> None:
        start = 0
        while True:
            # Writes and the completion of other products take turns.
            with self._writing[tenant]:
                live, space = self._begun(tenant, model_version)
                ids: list[int] = []
                if space.map_token:
                    ids, start = live.page(start, _PAGE, Where((HasVector(space.using, is_absent=True),)))
                if ids:
                    live.set_vectors(space.using, mapped_vectors(live, space, ids))
                if not start:
                    # Products that came meanwhile were given a vector when they were written.
                    live.complete_items(space)
                    return

    def _live(self, tenant: str) -> Collection:
        live = self._collections.pair(tenant).live
        if live is None or live.count(Where()) == 0:
            raise Conflict("the catalogue is empty: import products first")
        return live

    def _begun(self, tenant: str, model_version: str) -> tuple[Collection, ItemSpace]:
        live = self._collections.pair(tenant).live
        space = None if live is None else find_space(live, model_version)
        if live is None or space is None:
            raise Conflict(f"model_version: there are no item vectors of {model_version!r}; begin them first")
        return live, space


def find_space(collection: Collection, model_version: str) -> ItemSpace | None:
    return next((space for space in collection.item_spaces if space.model_version == model_version), None)


def _state(live: Collection, space: ItemSpace) -> ItemVectorsState:
    count = live.count(Where((HasVector(space.using),)))
    return ItemVectorsState(space.model_version, space.dimensions, count, space.is_complete)


def _check_map(live: Collection, map: Vectors, dimensions: int) -> None:
    if map.model_version != live.model_version:
        raise Conflict(
            f"map.model_version: the map reads vectors of {map.model_version!r}, the live collection has those of "
            f"{live.model_version!r}; train with the vectors that it has now"
        )
    text, image = live.dimensions, live.image_dimensions
    fitting = {text + 1, text + image + 1}
    if len(map.values) not in fitting:
        raise Conflict(
            f"map.values.shape: has {len(map.values)} rows; with {text} dimensions of texts and {image} of pictures "
            f"send {' or '.join(str(rows) for rows in sorted(fitting))}"
        )
    if map.values.shape[1] != dimensions:
        raise Conflict(f"map.values.shape: has {map.values.shape[1]} columns; send {dimensions}, as `dimensions`")
