"""A Qdrant server or cluster: one collection, through qdrant-client."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any

from qdrant_client import QdrantClient, models

from services.common.arrays import FloatArray
from services.common.offers import Offer
from services.retrieval.adapters import server_terms as terms
from services.retrieval.adapters.collection import Hits, Read, VectorQuery
from services.retrieval.adapters.item_spaces import ItemSpace, completed, without
from services.retrieval.adapters.layout import LAYOUT, other_layout
from services.retrieval.adapters.offer_payload import OFFERS, OFFERS_AT, offers_of_payload
from services.retrieval.adapters.points import IMAGE, ITEMS_PREFIX, LEXICAL, PointData, Where
from services.retrieval.adapters.records import CHANGED_AT, Record, payload_keys
from services.retrieval.adapters.server_maps import maps_of, read_map, remove_other_maps, write_map
from services.retrieval.adapters.server_terms import Changed, ChangedOffers
from services.retrieval.ports import Columns

# Points a scroll reads at a time.
_PAGE = 1_000
_EVERYWHERE = Where()


class ServerCollection:
    """See collection.Collection. Its metadata keep the layout and the models of its vectors.

    `executor` runs reads in parallel; None: one after the other. Raises Unavailable for a collection of another layout.
    """

    def __init__(self, client: QdrantClient, name: str, executor: Executor | None = None) -> None:
        self._client = client
        self._executor = executor
        self.name = name
        metadata = client.get_collection(name).config.metadata or {}
        if metadata.get("layout") != LAYOUT:
            raise other_layout(f"collection {name} of the Qdrant server", f"layout {metadata.get('layout', 1)}")
        self.model_version: str = metadata.get("model_version", "")
        self.dimensions: int = int(metadata.get("dimensions", 0))
        self.image_model_version: str = metadata.get("image_model_version", "")
        self.image_dimensions: int = int(metadata.get("image_dimensions", 0))
        self.item_spaces: tuple[ItemSpace, ...] = tuple(ItemSpace(**space) for space in metadata.get("item_spaces", ()))

    @property
    def identity(self) -> str:
        return self.name

    @property
    def revision(self) -> None:
        return None

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        self._client.create_vector_name(
            self.name,
            using,
            models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(
                    size=dimensions, distance=models.Distance.COSINE, datatype=models.VectorStorageDatatype.FLOAT16
                )
            ),
        )
        prefix = "image_" if using == IMAGE else ""
        setattr(self, f"{prefix}model_version", model_version)
        setattr(self, f"{prefix}dimensions", dimensions)
        self._write_metadata()

    def begin_items(self, model_version: str, dimensions: int, map: FloatArray | None) -> ItemSpace:
        token = "" if map is None else write_map(self._client, self.name, map)
        # A random name: a replica that has not seen yet that a version was dropped must not find those of another one.
        space = ItemSpace(ITEMS_PREFIX + secrets.token_hex(6), model_version, dimensions, map_token=token)
        self._client.create_vector_name(
            self.name,
            space.using,
            models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(
                    size=dimensions, distance=models.Distance.DOT, datatype=models.VectorStorageDatatype.FLOAT16
                )
            ),
        )
        self._set_item_spaces((*self.item_spaces, space))
        return space

    def complete_items(self, space: ItemSpace) -> None:
        self._set_item_spaces(completed(self.item_spaces, space.using))

    def drop_items(self, space: ItemSpace) -> None:
        self._set_item_spaces(without(self.item_spaces, space.using))
        self._client.delete_vector_name(self.name, space.using)
        remove_other_maps(self._client, self.name, [kept.map_token for kept in self.item_spaces if kept.map_token])

    def item_map(self, space: ItemSpace) -> FloatArray | None:
        return read_map(self._client, self.name, space.map_token) if space.map_token else None

    def set_vectors(self, using: str, vectors: Mapping[int, list[float]]) -> None:
        self._client.update_vectors(self.name, terms.point_vectors(using, vectors), wait=True)

    def vectors(self, ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, list[float]]]:
        found = self._client.retrieve(self.name, list(ids), with_payload=False, with_vectors=list(names))
        return {terms.number(point.id): terms.dense_vectors(point) for point in found}

    def upsert(self, points: Sequence[PointData]) -> None:
        self._client.upsert(self.name, [terms.point(point) for point in points], wait=True)

    def delete(self, ids: Sequence[int]) -> None:
        if ids:
            self._client.delete(self.name, list(ids), wait=True)

    def offers(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        found = self._client.retrieve(self.name, list(ids), with_payload=[OFFERS])
        return {terms.number(point.id): offers_of_payload(point.payload) for point in found}

    def offers_of_others(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        return self.offers(ids)

    def set_offers(self, offers: Sequence[tuple[int, Offer]]) -> None:
        if offers:
            operations: list[models.UpdateOperation] = [terms.set_offers(id, [offer]) for id, offer in offers]
            operations.append(terms.set_offers_time(list({id for id, _ in offers})))
            self._client.batch_update_points(self.name, operations, wait=True)

    def query(self, queries: Sequence[VectorQuery], columns: Columns | None = None) -> list[Hits]:
        requests = [terms.query_request(query, columns) for query in queries]
        return [terms.hits(answer.points) for answer in self._client.query_batch_points(self.name, requests)]

    def retrieve(self, ids: Sequence[int], columns: Columns) -> dict[int, Record]:
        found = self._client.retrieve(self.name, list(ids), with_payload=payload_keys(columns))
        return terms.records(found)

    def points(self, ids: Sequence[int]) -> list[PointData]:
        found = self._client.retrieve(self.name, list(ids), with_payload=True, with_vectors=True)
        return [terms.point_data(point) for point in found]

    def page(self, start: int, limit: int, where: Where = _EVERYWHERE) -> tuple[list[int], int]:
        found, after = self._client.scroll(
            self.name, scroll_filter=terms.filter_of(where), limit=limit, offset=start or None, with_payload=False
        )
        return [terms.number(point.id) for point in found], 0 if after is None else terms.number(after)

    def changed(self, where: Where) -> Iterator[list[Changed]]:
        """The products within `where`, in batches by point id."""
        for found in self._scroll(where, with_payload=True, with_vectors=[LEXICAL]):
            yield [terms.changed(point) for point in found]

    def changed_offers(self, where: Where) -> Iterator[list[ChangedOffers]]:
        """The offers of the products within `where`, in batches by point id."""
        for found in self._scroll(where, with_payload=[OFFERS, OFFERS_AT]):
            yield [terms.changed_offers(point) for point in found]

    def ids(self) -> set[int]:
        """Of all points."""
        ids, start = set[int](), 0
        while True:
            found, start = self.page(start, _PAGE)
            ids.update(found)
            if not start:
                return ids

    def count(self, where: Where) -> int:
        return int(self._client.count(self.name, terms.filter_of(where), exact=True).count)

    def at_once(self, reads: Sequence[Read]) -> list[Any]:
        if self._executor is None or len(reads) < 2:
            return [read() for read in reads]
        others = [self._executor.submit(read) for read in reads[1:]]
        return [reads[0](), *(other.result() for other in others)]

    def _set_item_spaces(self, spaces: tuple[ItemSpace, ...]) -> None:
        self.item_spaces = spaces
        self._write_metadata()

    def _write_metadata(self) -> None:
        names = ("model_version", "dimensions", "image_model_version", "image_dimensions")
        metadata = {"layout": LAYOUT} | {name: getattr(self, name) for name in names}
        metadata["item_spaces"] = [asdict(space) for space in self.item_spaces]
        self._client.update_collection(self.name, metadata=metadata)

    def _scroll(self, where: Where, **read: Any) -> Iterator[list[models.Record]]:
        offset: Any = None
        while True:
            found, offset = self._client.scroll(
                self.name, scroll_filter=terms.filter_of(where), limit=_PAGE, offset=offset, **read
            )
            yield found
            if offset is None:
                return


def delete_collection(client: QdrantClient, name: str) -> None:
    """With its maps. Does nothing if there is none."""
    for found in (name, maps_of(name)):
        if client.collection_exists(found):
            client.delete_collection(found)


def create_collection(client: QdrantClient, name: str, executor: Executor | None = None) -> ServerCollection:
    """An empty one, which replaces one of this name."""
    delete_collection(client, name)
    client.create_collection(
        name,
        vectors_config={},
        sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={"layout": LAYOUT},
    )
    for key in (CHANGED_AT, OFFERS_AT):
        client.create_payload_index(name, key, models.PayloadSchemaType.INTEGER)
    return ServerCollection(client, name, executor)
