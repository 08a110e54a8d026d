"""Qdrant Edge: one collection, with the engine in this process. Folders: see edge_layout.py.

Updates go through the shard's write-ahead log and survive the death of the process. Answers come from records in
memory, 1.6 kB a product: reading 200 candidates back from the shard and out of base64 takes longer than finding them.

The engine holds Python's GIL in every call. Queries take a millisecond or so, but optimising takes half a minute for
50,000 products: it happens on a copy, in a process of its own (`optimizer.py`), and what was written meanwhile is
applied to the copy before the copy replaces the collection.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeShard,
    QueryBatchRequest,
    ScrollRequest,
    UpdateOperation,
    VectorStorageDatatype,
)

from services.common.arrays import FloatArray
from services.common.offers import Offer
from services.retrieval.adapters import edge_terms as terms
from services.retrieval.adapters.collection import Hits, Read, VectorQuery
from services.retrieval.adapters.edge_generations import (
    Manifest,
    new_generation,
    read_map,
    remove_other_generations,
    remove_other_maps,
    write_map,
)
from services.retrieval.adapters.edge_repair import remove_unnamed_vectors
from services.retrieval.adapters.edge_shard import PAGE, config, load, offers_in, read_records
from services.retrieval.adapters.edge_writes import Writes
from services.retrieval.adapters.item_spaces import ItemSpace, completed, free_name, without
from services.retrieval.adapters.offer_payload import OFFERS, offers_of_payload
from services.retrieval.adapters.points import IMAGE, LEXICAL, PointData, Where
from services.retrieval.adapters.records import Record, entry_of
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.ports import Columns

# Operations that wait for a copy to be optimised; beyond it the copy is dropped and made again later.
_MAX_JOURNAL = 200
# Offers after which the shard is flushed: about 10 MB of its write-ahead log.
_FLUSH_AFTER = 100_000

_EVERYWHERE = Where()
_revisions = itertools.count(1)


def next_revision() -> int:
    """A number that this process has not used."""
    return next(_revisions)


class EdgeCollection:
    """See collection.Collection. Reads never wait; writes wait for each other and for a copy to be made."""

    def __init__(
        self, folder: Path, manifest: Manifest, shard: EdgeShard, max_search_threads: int, writes: Writes
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._shard = shard
        self._max_search_threads = max_search_threads
        self._writing = writes
        self._records = read_records(shard)
        self._journal: list[UpdateOperation] | None = None
        # Points whose offers changed while the journal was kept: their offers are copied as they are at its end.
        self._offers_changed: set[int] = set()
        self._unflushed_offers = 0
        self._maps: dict[str, FloatArray] = {}
        # Points written since the last optimised copy. After a restart it is an estimate: replaced points do not count.
        self.changed = abs(len(self._records) - manifest.optimized_count)
        # Of what searches find. None while it changes: an answer may then have a part of the change.
        self._revision: int | None = next_revision()
        self.identity = next_revision()

    @classmethod
    def create(cls, folder: Path, max_search_threads: int, writes: Writes) -> EdgeCollection:
        """An empty collection, which replaces one that is there once it is complete."""
        manifest = Manifest(new_generation())
        path = folder / manifest.generation
        path.mkdir(parents=True)
        shard = EdgeShard.create(str(path), config(max_search_threads))
        shard.flush()
        manifest.write(folder)
        remove_other_generations(folder, manifest)
        remove_other_maps(folder, manifest)
        return cls(folder, manifest, shard, max_search_threads, writes)

    @classmethod
    def open(cls, folder: Path, max_search_threads: int, writes: Writes) -> EdgeCollection | None:
        """None if no creation was ever completed."""
        manifest = Manifest.read(folder)
        remove_other_generations(folder, manifest)
        remove_other_maps(folder, manifest)
        if manifest is None:
            return None
        path = folder / manifest.generation
        remove_unnamed_vectors(path, manifest.vector_names, (LEXICAL,))
        shard = load(path, max_search_threads)
        return cls(folder, manifest, shard, max_search_threads, writes)

    @property
    def revision(self) -> int | None:
        return self._revision

    @property
    def model_version(self) -> str:
        return self._manifest.model_version

    @property
    def dimensions(self) -> int:
        return self._manifest.dimensions

    @property
    def image_model_version(self) -> str:
        return self._manifest.image_model_version

    @property
    def image_dimensions(self) -> int:
        return self._manifest.image_dimensions

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        named = {"model_version": model_version, "dimensions": dimensions}
        if using == IMAGE:
            named = {f"image_{name}": value for name, value in named.items()}
        with self._changing():
            # A process that died before it wrote the manifest may have left the name without a vector.
            self._apply(UpdateOperation.delete_vector_name(using))
            self._apply(
                UpdateOperation.create_dense_vector(
                    using, dimensions, Distance.Cosine, datatype=VectorStorageDatatype.Float16
                )
            )
            self._shard.flush()
            self._manifest = replace(self._manifest, **named)  # type: ignore[arg-type]
            self._manifest.write(self._folder)

    @property
    def item_spaces(self) -> tuple[ItemSpace, ...]:
        return self._manifest.item_spaces

    def begin_items(self, model_version: str, dimensions: int, map: FloatArray | None) -> ItemSpace:
        with self._changing():
            spaces = self._manifest.item_spaces
            token = "" if map is None else write_map(self._folder, map)
            space = ItemSpace(free_name(spaces), model_version, dimensions, map_token=token)
            # A process that died before it wrote the manifest, or after it, may have left a vector of this name.
            self._apply(UpdateOperation.delete_vector_name(space.using))
            self._apply(
                UpdateOperation.create_dense_vector(
                    space.using, dimensions, Distance.Dot, datatype=VectorStorageDatatype.Float16
                )
            )
            self._shard.flush()
            self._set_item_spaces((*spaces, space))
            return space

    def complete_items(self, space: ItemSpace) -> None:
        with self._changing():
            self._shard.flush()
            self._set_item_spaces(completed(self._manifest.item_spaces, space.using))

    def drop_items(self, space: ItemSpace) -> None:
        with self._changing():
            # First: a search must not find a version without its vectors.
            self._set_item_spaces(without(self._manifest.item_spaces, space.using))
            # What was written must not be read again from the log after the vector is gone.
            self._shard.flush()
            self._apply(UpdateOperation.delete_vector_name(space.using))
            self._shard.flush()
            self._maps.pop(space.map_token, None)

    def item_map(self, space: ItemSpace) -> FloatArray | None:
        if not space.map_token:
            return None
        if space.map_token not in self._maps:
            self._maps[space.map_token] = read_map(self._folder, space.map_token)
        return self._maps[space.map_token]

    def set_vectors(self, using: str, vectors: Mapping[int, list[float]]) -> None:
        with self._changing():
            self._apply(terms.set_vectors(using, vectors))
            self.changed += len(vectors)

    def vectors(self, ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, list[float]]]:
        found = self._shard.retrieve(list(ids), False, list(names))
        return {terms.number(point.id): terms.dense_vectors(point) for point in found}

    def upsert(self, points: Sequence[PointData]) -> None:
        operation = UpdateOperation.upsert_points([terms.point(point) for point in points])
        with self._changing():
            self._apply(operation)
            self._records.update((point.id, point.record) for point in points)
            self.changed += len(points)

    def delete(self, ids: Sequence[int]) -> None:
        with self._changing():
            self._apply(UpdateOperation.delete_points(list(ids)))
            for point_id in ids:
                self._records.pop(point_id, None)
            self.changed += len(ids)

    def offers(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        return offers_in(self._shard, ids)

    def offers_of_others(self, ids: Sequence[int]) -> dict[int, list[Offer]]:
        # No other process writes to the collection.
        return {}

    def set_offers(self, offers: Sequence[tuple[int, Offer]]) -> None:
        if not offers:
            return
        with self._changing():
            for id, offer in offers:
                self._shard.update(terms.set_offers(id, [offer]))
            if self._journal is not None:
                self._offers_changed.update(id for id, _ in offers)
            self._unflushed_offers += len(offers)
            if self._unflushed_offers >= _FLUSH_AFTER:
                # Only this lets the engine shorten its write-ahead log.
                self._shard.flush()
                self._unflushed_offers = 0

    def query(self, queries: Sequence[VectorQuery], columns: Columns | None = None) -> list[Hits]:
        batch = QueryBatchRequest([terms.query_request(query) for query in queries])
        answers = []
        for points in self._shard.query_batch(batch):
            ids, scores = terms.numbers(points), [point.score for point in points]
            answers.append(Hits.of(ids, scores, None if columns is None else self.retrieve(ids, columns)))
        return answers

    def retrieve(self, ids: Sequence[int], columns: Columns) -> dict[int, Record]:
        records = self._records
        return {id: record for id in ids if (record := records.get(id)) is not None}

    def points(self, ids: Sequence[int]) -> list[PointData]:
        # A point that is being written may be in the shard and not yet in the records, or the reverse.
        found = self._shard.retrieve(list(ids), [OFFERS], True)
        records = [(point, self._records.get(terms.number(point.id))) for point in found]
        return [
            terms.point_data(point, record, offers_of_payload(point.payload))
            for point, record in records
            if record is not None
        ]

    def page(self, start: int, limit: int, where: Where = _EVERYWHERE) -> tuple[list[int], int]:
        found, after = self._shard.scroll(
            ScrollRequest(offset=start, limit=limit, filter=terms.filter_of(where), with_payload=False)
        )
        return terms.numbers(found), 0 if after is None else terms.number(after)

    def catalogue(self) -> Catalogue:
        """Its products in memory, read anew."""
        catalogue, offset = Catalogue(), None
        while True:
            found, offset = self._shard.scroll(
                ScrollRequest(offset=offset, limit=PAGE, with_payload=[OFFERS], with_vector=[LEXICAL])
            )
            keys = terms.numbers(found)
            catalogue.columns.replace(
                [entry_of(key, self._records[key], terms.words(point)) for key, point in zip(keys, found, strict=True)]
            )
            offers = [offers_of_payload(point.payload) for point in found]
            catalogue.update_offers([(key, offer) for key, its in zip(keys, offers, strict=True) for offer in its])
            if offset is None:
                catalogue.columns.sort_lookups()
                return catalogue

    def count(self, where: Where) -> int:
        return int(self._shard.count(CountRequest(exact=True, filter=terms.filter_of(where))))

    def at_once(self, reads: Sequence[Read]) -> list[Any]:
        # The engine holds the GIL: threads would gain nothing.
        return [read() for read in reads]

    def optimize(self, run: Callable[[Path], bool]) -> bool:
        """Build the vector graph on a copy with `run`, then switch to the copy. False if the copy was dropped."""
        manifest = self._take_copy()
        path = self._folder / manifest.generation
        try:
            done = run(path)
        finally:
            with self._changing():
                journal, self._journal = self._journal, None
                switched = journal is not None and len(journal) <= _MAX_JOURNAL and done
                if switched:
                    self._switch(manifest, path, journal or [])
        remove_other_generations(self._folder, self._manifest)
        return switched

    def close(self) -> None:
        with self._writing:
            self._shard.flush()
            self._shard.close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time. Every change of the shard, the records or the manifest is inside."""
        with self._writing:
            self._revision = None
            try:
                yield
            finally:
                self._revision = next_revision()

    def _set_item_spaces(self, spaces: tuple[ItemSpace, ...]) -> None:
        self._manifest = replace(self._manifest, item_spaces=spaces)
        self._manifest.write(self._folder)
        remove_other_maps(self._folder, self._manifest)

    def _take_copy(self) -> Manifest:
        with self._writing:
            self._shard.flush()
            manifest = replace(self._manifest, generation=new_generation(), optimized_count=len(self._records))
            shutil.copytree(self._folder / self._manifest.generation, self._folder / manifest.generation)
            self._journal, self._offers_changed, self.changed = [], set(), 0
        return manifest

    def _switch(self, manifest: Manifest, path: Path, journal: Sequence[UpdateOperation]) -> None:
        shard = load(path, self._max_search_threads)
        for operation in journal:
            shard.update(operation)
        for id, offers in offers_in(self._shard, list(self._offers_changed & self._records.keys())).items():
            shard.update(terms.set_offers(id, offers))
        shard.flush()
        # The models may have been named since the copy was made.
        manifest = replace(self._manifest, generation=manifest.generation, optimized_count=manifest.optimized_count)
        manifest.write(self._folder)
        # The old shard is not closed but dropped: a reader may be just about to use it.
        self._manifest, self._shard = manifest, shard

    def _apply(self, operation: UpdateOperation) -> None:
        self._shard.update(operation)
        if self._journal is not None and len(self._journal) <= _MAX_JOURNAL:
            self._journal.append(operation)
