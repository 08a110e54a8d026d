"""Changes a catalogue to another text encoder while it is searched: fills a staged collection, checks it, switches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
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
# If products are still missing after so many passes, an import is writing them with the vectors of one model only.
_MAX_PASSES = 10
# Share of the exact nearest neighbours that a search must find.
MIN_RECALL = 0.9
# Share of the catalogue that may lose its vector by the switch.
_MAX_LOST_SHARE = 0.01
# Columns that training/bulk_embedding.py writes; `vector` is a list of float16.
COLUMNS = ("id", "fingerprint", "vector", "model_version")


class Refused(Exception):
    """The change is not possible. The live collection is as before."""


@dataclass
class Reembedding:
    """The steps of the change to `model_version`. Every step may be repeated."""

    connection: Connection
    model_version: str
    quiet: bool = False
    # Vectors that were stored from a file, and products that the query encoder embedded.
    from_file: int = 0
    embedded: int = 0
    # Results of `check`.
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
        """Stores vectors of a Parquet file or a folder of them. Products that have changed since then are left to
        `fill`.
        """
        with tqdm(unit=" vectors", disable=self.quiet, desc="Storing") as bar:
            for message in read_vectors(vectors, self.model_version):
                self.from_file += self._call("StoreEmbeddings", message).stored_count
                bar.update(len(message.ids))

    def fill(self) -> None:
        """Goes through the catalogue until a pass finds no missing product. Raises Refused."""
        for number in range(_MAX_PASSES):
            total = self.describe().live.product_count
            if not self._pass(total, "Embedding" if number == 0 else "Comparing"):
                return
        raise Refused(
            f"products are still missing after {_MAX_PASSES} passes: an import writes them with vectors of one model "
            "only; let the query encoder of that import serve both models"
        )

    def check(self) -> list[str]:
        """Problems that should prevent the switch. Sets `figures`."""
        state = self.describe()
        check = gateway_pb2.CheckEmbeddingsRequest()
        self.figures.CopyFrom(self._call("CheckEmbeddings", check).figures)
        problems = []
        if self.figures.sampled_count and self.figures.recall < MIN_RECALL:
            problems.append(
                f"searches find {self.figures.recall:.0%} of the exact nearest neighbours, less than {MIN_RECALL:.0%}"
            )
        lost = _without_share(state.staged) - _without_share(state.live)
        if lost > _MAX_LOST_SHARE:
            problems.append(f"{lost:.0%} of the products would lose their vector")
        return problems

    def switch(self) -> None:
        self._call("SwitchCollections", gateway_pb2.SwitchCollectionsRequest(model_version=self.model_version))

    def drop(self) -> None:
        self._call("DropCollection", gateway_pb2.DropCollectionRequest(model_version=self.model_version))

    def _pass(self, total: int, title: str) -> int:
        """Goes through the catalogue once. Returns the number of missing products."""
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
        """Repeats the call if a stage is busy or unavailable for a short time."""
        with self.connection.stub() as stub:
            for attempt in stamina.retry_context(on=_is_unavailable, attempts=_ATTEMPTS, timeout=None, wait_max=10.0):
                with attempt:
                    return getattr(stub, method)(message, timeout=_TIMEOUT_S, metadata=self.connection.metadata)
        raise AssertionError("unreachable: the last attempt returns or raises")


def read_vectors(path: Path, model_version: str) -> Iterator[gateway_pb2.StoreEmbeddingsRequest]:
    """Raises FileRefused for a file that lacks a column or has vectors of another model."""
    # Imported here: it takes half a second, which no other command needs.
    import pyarrow.dataset

    if not path.exists():
        raise FileRefused(f"{path} does not exist")
    try:
        data = pyarrow.dataset.dataset(path, format="parquet")
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise FileRefused(f"{path} is not a Parquet file: {error}") from None
    absent = [name for name in COLUMNS if name not in data.schema.names]
    if absent:
        raise FileRefused(f"{path} has no column {absent[0]!r}; it needs {', '.join(COLUMNS)}")
    for batch in data.to_batches(columns=list(COLUMNS), batch_size=_PAGE):
        if not batch.num_rows:
            continue
        others = set(batch["model_version"].to_pylist()) - {model_version}
        if others:
            raise FileRefused(f"{path} has vectors of {sorted(map(str, others))[0]!r}, not of {model_version!r}")
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
