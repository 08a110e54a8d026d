"""Saves the collections of a Qdrant server to a file: all points, the models of the vectors with the maps of
item vectors, and the aliases.

Unlike a snapshot of Qdrant, the file can be restored to a server with another number of shards or replicas, or of
another version. The server builds the vector graph again. For catalogues of many millions of products use the snapshots
of the server: docs/how-to/runbook.md.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from ops.backup.batches import batches
from ops.backup.manifest import Refused
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.item_spaces import ItemSpace
from services.retrieval.adapters.offer_payload import offers_of_payload, offers_payload
from services.retrieval.adapters.points import DENSE, IMAGE, PointData
from services.retrieval.adapters.records import payload_of, records_of_payloads
from services.retrieval.adapters.server_collection import ServerCollection, create_collection, delete_collection
from services.retrieval.adapters.server_maps import is_of_maps

# Points of one call.
_BATCH = 500
# How the line with the aliases begins, and how an alias of the layout before `.staged` ends.
_ALIASES, _EARLIER = '{"aliases":', ".beside"


def dump(client: QdrantClient, prefix: str, file: Path) -> None:
    """Writes a JSON document for each line: a collection followed by its points, and at the end the aliases."""
    with gzip.open(file, "wt", compresslevel=1) as lines:
        for name in _names(client, prefix):
            collection, after = ServerCollection(client, name), 0
            items = [_packed_space(collection, space) for space in collection.item_spaces]
            head = {"collection": name, "vectors": _vectors_of(collection), "items": items}
            lines.write(json.dumps(head) + "\n")
            while True:
                ids, after = collection.page(after, _BATCH)
                for point in collection.points(ids):
                    lines.write(json.dumps({"point": _packed(point)}) + "\n")
                if not after:
                    break
        aliases = {entry.alias_name: entry.collection_name for entry in client.get_aliases().aliases}
        own = {alias: name for alias, name in aliases.items() if alias.startswith(prefix)}
        lines.write(json.dumps({"aliases": own}) + "\n")


def restore(client: QdrantClient, prefix: str, file: Path) -> None:
    """Replaces all collections with this prefix."""
    for name in _names(client, prefix):
        delete_collection(client, name)
    created: list[_Restored] = []
    with gzip.open(file, "rt") as lines:
        for is_point, entries in groupby(map(json.loads, lines), lambda entry: "point" in entry):
            if is_point:
                for batch in batches(entries, _BATCH):
                    created[-1].upsert([_unpacked(entry["point"]) for entry in batch])
                continue
            for entry in entries:
                if "aliases" in entry:
                    _name_roles(client, entry["aliases"])
                else:
                    created.append(_Restored(client, entry))
    for restored in created:
        restored.complete()


def check(file: Path) -> None:
    """Raises Refused for a dump of an earlier layout: its staged collections would never be found."""
    with gzip.open(file, "rt") as lines:
        aliases: dict[str, str] = next((json.loads(line)["aliases"] for line in lines if line.startswith(_ALIASES)), {})
    if earlier := sorted(alias for alias in aliases if alias.endswith(_EARLIER)):
        raise Refused(
            f"{file.name} is of an earlier layout, with the alias {earlier[0]}: restore it with the Kairos that saved "
            "it, or leave it out (--skip retrieval.server.url) and import the catalogue again (`kairos catalog import`)"
        )


def is_occupied(client: QdrantClient, prefix: str) -> bool:
    return bool(_names(client, prefix))


def _names(client: QdrantClient, prefix: str) -> list[str]:
    """Without the collections that hold maps: those are read with the collection that they belong to."""
    names = (entry.name for entry in client.get_collections().collections)
    return sorted(name for name in names if name.startswith(prefix) and not is_of_maps(name))


def _vectors_of(collection: ServerCollection) -> dict[str, tuple[str, int]]:
    found = {
        DENSE: (collection.model_version, collection.dimensions),
        IMAGE: (collection.image_model_version, collection.image_dimensions),
    }
    return {using: named for using, named in found.items() if named[1]}


class _Restored:
    """A collection that is being restored. Item vectors get new names."""

    def __init__(self, client: QdrantClient, entry: dict[str, Any]) -> None:
        self._collection = create_collection(client, entry["collection"])
        for using, (version, dimensions) in entry["vectors"].items():
            self._collection.begin_vectors(using, version, dimensions)
        # By their names in the dump. Dumps of earlier versions have none.
        self._spaces: dict[str, tuple[ItemSpace, bool]] = {}
        for packed in entry.get("items", ()):
            map = packed["map"] and np.array(_vector(packed["map"]), np.float32).reshape(-1, packed["dimensions"])
            space = self._collection.begin_items(packed["model_version"], packed["dimensions"], map)
            self._spaces[packed["using"]] = space, packed["is_complete"]

    def upsert(self, points: Sequence[PointData]) -> None:
        renamed = [
            replace(point, items={self._spaces[name][0].using: vector for name, vector in point.items.items()})
            for point in points
        ]
        self._collection.upsert(renamed)

    def complete(self) -> None:
        for space, is_complete in self._spaces.values():
            if is_complete:
                self._collection.complete_items(space)


def _packed_space(collection: ServerCollection, space: ItemSpace) -> dict[str, Any]:
    map = collection.item_map(space)
    return {
        "using": space.using,
        "model_version": space.model_version,
        "dimensions": space.dimensions,
        "is_complete": space.is_complete,
        "map": None if map is None else _floats(map.ravel().tolist()),
    }


def _name_roles(client: QdrantClient, aliases: dict[str, str]) -> None:
    if aliases:
        client.update_collection_aliases(
            [
                models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
                for alias, name in aliases.items()
            ]
        )


def _packed(point: PointData) -> dict[str, Any]:
    return {
        "id": point.id,
        "dense": _floats(point.dense),
        "image": _floats(point.image),
        "items": {name: _floats(vector) for name, vector in point.items.items()},
        "terms": list(point.lexical.indices),
        "weights": list(point.lexical.values),
        "payload": payload_of(point.record, point.dense) | offers_payload(point.offers),
    }


def _unpacked(entry: dict[str, Any]) -> PointData:
    (record,) = records_of_payloads([entry["payload"]])
    return PointData(
        entry["id"],
        _vector(entry["dense"]),
        _vector(entry["image"]),
        SparseWeights(entry["terms"], entry["weights"]),
        record,
        tuple(offers_of_payload(entry["payload"])),
        {name: vector for name, text in entry.get("items", {}).items() if (vector := _vector(text)) is not None},
    )


def _floats(vector: list[float] | None) -> str | None:
    return None if vector is None else base64.b64encode(np.array(vector, "<f4").tobytes()).decode()


def _vector(text: str | None) -> list[float] | None:
    return None if text is None else list(map(float, np.frombuffer(base64.b64decode(text), "<f4")))
