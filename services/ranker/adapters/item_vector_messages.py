"""The item vectors of a version of the shopper model as the gateway takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from kairos.gateway.v1 import gateway_pb2
from services.common.convert import vectors_to_proto
from services.ranker.adapters.shopper_version import ITEMS, MODEL, VECTORS

# The gateway's limit of ids in one call.
_AT_ONCE = 500


def has_map_for(folder: Path, live: str) -> bool:
    """Whether the version's map reads vectors of the text model `live`: only then new products get an item vector."""
    return bool(json.loads((folder / MODEL).read_text("utf-8"))["vector_version"] == live)


def begin_message(folder: Path, live: str) -> gateway_pb2.BeginItemVectorsRequest:
    """`live`: the text model of the live collection."""
    about = json.loads((folder / MODEL).read_text("utf-8"))
    begin = gateway_pb2.BeginItemVectorsRequest(model_version=about["model_version"], dimensions=about["dimensions"])
    if has_map_for(folder, live):
        begin.map.CopyFrom(vectors_to_proto(load_file(folder / VECTORS)["map"].astype(np.float32), live))
    return begin


def store_messages(folder: Path) -> Iterator[gateway_pb2.StoreItemVectorsRequest]:
    """All vectors, and then the mark that they are complete. Storing is idempotent."""
    name = json.loads((folder / MODEL).read_text("utf-8"))["model_version"]
    ids: list[str] = json.loads((folder / ITEMS).read_text("utf-8"))
    vectors = load_file(folder / VECTORS)["vectors"].astype(np.float16)
    for start in range(0, len(ids), _AT_ONCE):
        chunk = vectors_to_proto(vectors[start : start + _AT_ONCE], name)
        yield gateway_pb2.StoreItemVectorsRequest(ids=ids[start : start + _AT_ONCE], vectors=chunk, model_version=name)
    yield gateway_pb2.StoreItemVectorsRequest(model_version=name, is_complete=True)
