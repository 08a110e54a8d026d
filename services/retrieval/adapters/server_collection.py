"""A Qdrant server or cluster: one collection, through qdrant-client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from qdrant_client import QdrantClient, models

from services.common.offers import Offer
from services.retrieval.adapters import server_terms as terms
from services.retrieval.adapters.collection import Hits, Read, Row, VectorQuery
from services.retrieval.adapters.collection_offers import CollectionOffers
from services.retrieval.adapters.layout import LAYOUT, other_layout
from services.retrieval.adapters.offer_payload import OFFERS, offers_of_payload
from services.retrieval.adapters.points import IMAGE, LEXICAL, PointData, Where
from services.retrieval.adapters.records import INDEXES, IndexKind, Record, payload_keys
from services.retrieval.ports import Columns

# Points a scroll reads at a time.
_PAGE = 1_000
_SCHEMAS = {
    IndexKind.KEYWORD: models.PayloadSchemaType.KEYWORD,
    IndexKind.FLOAT: models.PayloadSchemaType.FLOAT,
    IndexKind.INTEGER: models.PayloadSchemaType.INTEGER,
}


class ServerCollection:
    """See collection.Collection. Its metadata keep the layout and the models of its vectors.

    `executor` runs reads in parallel; None: one after the other. `offers`: shared by all objects of the collection;
    None: this is the only one. Raises Unavailable for a collection of another layout.
    """

    def __init__(
        self,
        client: QdrantClient,
        name: str,
        executor: Executor | None = None,
        offers: CollectionOffers | None = None,
    ) -> None:
        self._client = client
        self.known_offers = CollectionOffers() if offers is None else offers
        self._executor = executor
        self.name = name
        metadata = client.get_collection(name).config.metadata or {}
        if metadata.get("layout") != LAYOUT:
            raise other_layout(f"collection {name} of the Qdrant server", f"layout {metadata.get('layout', 1)}")
        self.model_version: str = metadata.get("model_version", "")
        self.dimensions: int = int(metadata.get("dimensions", 0))
        self.image_model_version: str = metadata.get("image_model_version", "")
        self.image_dimensions: int = int(metadata.get("image_dimensions", 0))

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
        names = ("model_version", "dimensions", "image_model_version", "image_dimensions")
        metadata = {"layout": LAYOUT} | {name: getattr(self, name) for name in names}
        self._client.update_collection(self.name, metadata=metadata)

    def upsert(self, points: Sequence[PointData]) -> None:
        self._client.upsert(self.name, [terms.point(point) for point in points], wait=True)
        self.known_offers.replace({point.id: point.offers for point in points})

    def delete(self, ids: Sequence[int]) -> None:
        if ids:
            self._client.delete(self.name, list(ids), wait=True)
            self.known_offers.remove(ids)

    def offers(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        found = self._client.retrieve(self.name, list(ids), with_payload=[OFFERS])
        return {terms.number(point.id): offers_of_payload(point.payload) for point in found}

    def newer_offers(self, offers: Mapping[int, tuple[int, Offer]]) -> list[int]:
        self._read_offers()
        # Another replica may have written some of them.
        ids = list({id for id, _ in offers.values()})
        self.known_offers.replace(self.offers(ids))
        return self.known_offers.newer(offers)

    def set_offers(self, offers: Sequence[tuple[int, Offer]]) -> None:
        if offers:
            operations = [terms.set_offers(id, [offer]) for id, offer in offers]
            self._client.batch_update_points(self.name, operations, wait=True)
            self.known_offers.update(offers)

    def query(self, queries: Sequence[VectorQuery], columns: Columns | None = None) -> list[Hits]:
        requests = [terms.query_request(query, columns) for query in queries]
        return [terms.hits(answer.points) for answer in self._client.query_batch_points(self.name, requests)]

    def retrieve(self, ids: Sequence[int], columns: Columns) -> dict[int, Record]:
        found = self._client.retrieve(self.name, list(ids), with_payload=payload_keys(columns))
        return terms.records(found)

    def points(self, ids: Sequence[int]) -> list[PointData]:
        found = self._client.retrieve(self.name, list(ids), with_payload=True, with_vectors=True)
        return [terms.point_data(point) for point in found]

    def page(self, start: int, limit: int) -> tuple[list[int], int]:
        found, after = self._client.scroll(self.name, limit=limit, offset=start or None, with_payload=False)
        return [terms.number(point.id) for point in found], 0 if after is None else terms.number(after)

    def ordered(self, key: str, descending: bool, where: Where, limit: int, columns: Columns) -> list[Row]:
        direction = models.Direction.DESC if descending else models.Direction.ASC
        return self._scroll(where, limit, columns, order_by=models.OrderBy(key=key, direction=direction))

    def scroll(self, where: Where, start: int, limit: int, columns: Columns) -> list[Row]:
        return self._scroll(where, limit, columns, offset=start or None)

    def facet(self, key: str, where: Where, limit: int) -> list[tuple[str, int]]:
        answer = self._client.facet(self.name, key, facet_filter=terms.filter_of(where), limit=limit)
        return [(str(hit.value), hit.count) for hit in answer.hits]

    def count(self, where: Where) -> int:
        return int(self._client.count(self.name, terms.filter_of(where), exact=True).count)

    def at_once(self, reads: Sequence[Read]) -> list[Any]:
        if self._executor is None or len(reads) < 2:
            return [read() for read in reads]
        others = [self._executor.submit(read) for read in reads[1:]]
        return [reads[0](), *(other.result() for other in others)]

    def _read_offers(self) -> None:
        """All of the collection, once in a process: of the others only the numbers of price lists and places count."""
        if self.known_offers.is_read:
            return
        offset: Any = None
        while True:
            found, offset = self._client.scroll(self.name, limit=_PAGE, offset=offset, with_payload=[OFFERS])
            self.known_offers.replace({terms.number(point.id): offers_of_payload(point.payload) for point in found})
            if offset is None:
                self.known_offers.is_read = True
                return

    def _scroll(self, where: Where, limit: int, columns: Columns, **place: Any) -> list[Row]:
        found, _ = self._client.scroll(
            self.name,
            scroll_filter=terms.filter_of(where),
            limit=limit,
            with_payload=payload_keys(columns),
            **place,
        )
        return terms.rows(found)


def create_collection(
    client: QdrantClient, name: str, executor: Executor | None = None, offers: CollectionOffers | None = None
) -> ServerCollection:
    """An empty one, which replaces one of this name."""
    if client.collection_exists(name):
        client.delete_collection(name)
    client.create_collection(
        name,
        vectors_config={},
        sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={"layout": LAYOUT},
    )
    for key, kind in INDEXES.items():
        client.create_payload_index(name, key, _SCHEMAS[kind])
    return ServerCollection(client, name, executor, offers)
