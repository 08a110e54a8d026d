"""A new model for a catalogue that is being searched: fill the collection beside, check it, switch to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import stamina
from tqdm import tqdm

from catalog.rows import FileRefused
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from ops.client import Connection
from services.common.convert import vectors_to_proto

# Products of one call.
_PAGE = 200
_TIMEOUT_S = 600.0
_ATTEMPTS = 8
# A catalogue whose every walk finds something is being imported by somebody whose encoder serves one model only.
_MAX_WALKS = 10
# What a search must find of the exact neighbours.
LEAST_RECALL = 0.9
# How much smaller the part of the catalogue with a vector may be.
_LOST_SHARE = 0.01
# As training/bulk_embedding.py writes them; `vector` is a list of float16.
COLUMNS = ("id", "fingerprint", "vector", "model_version")


class Refused(Exception):
    """What was asked for cannot be done; searches go on as before."""


@dataclass
class Reembedding:
    connection: Connection
    model_version: str
    quiet: bool = False
    # What was stored from a file, and what the encoder embedded.
    given: int = 0
    embedded: int = 0
    figures: retrieval_pb2.CheckEmbeddingsResponse = field(default_factory=retrieval_pb2.CheckEmbeddingsResponse)

    def describe(self) -> gateway_pb2.DescribeCollectionsResponse:
        state: gateway_pb2.DescribeCollectionsResponse = self._call(
            "DescribeCollections", gateway_pb2.DescribeCollectionsRequest()
        )
        return state

    def begin(self) -> None:
        begin = gateway_pb2.BeginReembeddingRequest(model_version=self.model_version)
        self._call("BeginReembedding", begin)

    def store(self, vectors: Path) -> None:
        """From a Parquet file or a folder of them. Products that have changed since are left to `fill`."""
        with tqdm(unit=" vectors", disable=self.quiet, desc="Storing") as bar:
            for message in read_vectors(vectors, self.model_version):
                self.given += self._call("StoreEmbeddings", message).stored_count
                bar.update(len(message.ids))

    def fill(self) -> None:
        """Walk through the catalogue until a walk finds nothing missing. Raises Refused."""
        for walk in range(_MAX_WALKS):
            total = self.describe().live.product_count
            if not self._walk(total, "Embedding" if walk == 0 else "Comparing"):
                return
        raise Refused(
            f"after {_MAX_WALKS} walks products are missing still: an import writes them with another model's vectors "
            "alone; have its encoder serve both models"
        )

    def check(self) -> list[str]:
        """What speaks against the switch; `figures` are there afterwards."""
        state = self.describe()
        check = gateway_pb2.CheckEmbeddingsRequest()
        self.figures.CopyFrom(self._call("CheckEmbeddings", check).figures)
        problems = []
        if self.figures.sampled_count and self.figures.recall < LEAST_RECALL:
            problems.append(
                f"searches find {self.figures.recall:.0%} of the exact neighbours, below {LEAST_RECALL:.0%}"
            )
        lost = _without_share(state.staged) - _without_share(state.live)
        if lost > _LOST_SHARE:
            problems.append(f"{lost:.0%} of the catalogue have a vector now and would have none")
        return problems

    def switch(self) -> None:
        self._call("SwitchCollections", gateway_pb2.SwitchCollectionsRequest(model_version=self.model_version))

    def drop(self) -> None:
        self._call("DropCollection", gateway_pb2.DropCollectionRequest(model_version=self.model_version))

    def _walk(self, total: int, title: str) -> int:
        """How many products were missing."""
        missing, token = 0, ""
        with tqdm(total=total, unit=" products", disable=self.quiet, desc=title) as bar:
            while True:
                page = gateway_pb2.ReembedProductsRequest(
                    model_version=self.model_version, page_token=token, limit=_PAGE
                )
                answer: gateway_pb2.ReembedProductsResponse = self._call("ReembedProducts", page)
                missing += answer.missing_count
                self.embedded += answer.stored_count
                bar.update(answer.compared_count)
                token = answer.next_page_token
                if not token:
                    return missing

    def _call(self, method: str, message: Any) -> Any:
        """Again where a stage is busy or down for a moment: every step may be repeated."""
        with self.connection.stub() as stub:
            for attempt in stamina.retry_context(on=_is_unavailable, attempts=_ATTEMPTS, timeout=None, wait_max=10.0):
                with attempt:
                    return getattr(stub, method)(message, timeout=_TIMEOUT_S, metadata=self.connection.metadata)
        raise AssertionError("unreachable: the last attempt returns or raises")


def read_vectors(path: Path, model_version: str) -> Iterator[gateway_pb2.StoreEmbeddingsRequest]:
    """Raises FileRefused for a file that is none of ours, or is of another model."""
    if not path.exists():
        raise FileRefused(f"{path} does not exist")
    try:
        data = pyarrow.dataset.dataset(path, format="parquet")
    except (pa.ArrowInvalid, OSError) as error:
        raise FileRefused(f"{path} is no Parquet: {error}") from None
    absent = [name for name in COLUMNS if name not in data.schema.names]
    if absent:
        raise FileRefused(f"{path} has no column {absent[0]!r}; it needs {', '.join(COLUMNS)}")
    for batch in data.to_batches(columns=list(COLUMNS), batch_size=_PAGE):
        if not batch.num_rows:
            continue
        others = set(batch["model_version"].to_pylist()) - {model_version}
        if others:
            raise FileRefused(f"{path} holds vectors of {sorted(map(str, others))[0]!r}, not of {model_version!r}")
        yield gateway_pb2.StoreEmbeddingsRequest(
            ids=batch["id"].to_pylist(),
            fingerprints=batch["fingerprint"].to_pylist(),
            vectors=_vectors(batch["vector"], model_version),
        )


def _vectors(column: Any, model_version: str) -> common_pb2.Vectors:
    rows = np.stack(column.to_numpy(zero_copy_only=False)).astype(np.float32)
    return vectors_to_proto(rows, model_version)


def _without_share(collection: retrieval_pb2.Collection) -> float:
    return collection.without_vector_count / max(collection.product_count, 1)


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE
