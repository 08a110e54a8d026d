"""The maps of item vectors on a Qdrant server: `<collection>.maps` has a point without a vector for each.

They are not in the metadata of the collection, which every refresh of the roles reads: a map may take megabytes.
"""

from __future__ import annotations

import base64
import secrets
import threading

import numpy as np
from cachetools import LRUCache
from qdrant_client import QdrantClient, models

from services.common.arrays import FloatArray
from services.retrieval.adapters.layout import LAYOUT

_SUFFIX = ".maps"
# Maps that a process keeps, of all tenants. Tokens are random: what one names never changes.
_known: LRUCache[str, FloatArray] = LRUCache(64)
_knowing = threading.Lock()


def maps_of(collection: str) -> str:
    return collection + _SUFFIX


def is_of_maps(collection: str) -> bool:
    return collection.endswith(_SUFFIX)


def write_map(client: QdrantClient, collection: str, map: FloatArray) -> str:
    """The token by which it is read."""
    name, number = maps_of(collection), secrets.randbits(63)
    if not client.collection_exists(name):
        client.create_collection(name, vectors_config={}, metadata={"layout": LAYOUT})
    packed = base64.b64encode(map.astype("<f4").tobytes()).decode()
    payload = {"dimensions": map.shape[1], "map": packed}
    client.upsert(name, [models.PointStruct(id=number, vector={}, payload=payload)], wait=True)
    return str(number)


def read_map(client: QdrantClient, collection: str, token: str) -> FloatArray:
    with _knowing:
        known = _known.get(token)
    if known is None:
        (found,) = client.retrieve(maps_of(collection), [int(token)], with_payload=True)
        payload = found.payload or {}
        known = np.frombuffer(base64.b64decode(payload["map"]), "<f4").reshape(-1, payload["dimensions"])
        with _knowing:
            _known[token] = known
    return known


def remove_other_maps(client: QdrantClient, collection: str, tokens: list[str]) -> None:
    """Those of dropped versions, and of those that were never begun."""
    name = maps_of(collection)
    if not client.collection_exists(name):
        return
    if not tokens:
        client.delete_collection(name)
        return
    others = models.Filter(must_not=[models.HasIdCondition(has_id=[int(token) for token in tokens])])
    client.delete(name, models.FilterSelector(filter=others), wait=True)
