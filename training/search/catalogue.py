"""A catalogue behind all services in this process: searched with an encoder and a fusion as a shop's searches are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import grpc
import numpy as np
from tqdm import tqdm

from catalog.imports import import_messages
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from ops.in_process import InProcessSuite, in_process_suite
from services.common.context import RequestContext
from services.common.convert import context_to_proto, product_to_proto, vectors_from_proto
from services.common.product import Product
from services.gateway.domain.lookup_text import lookup_text
from services.gateway.fallbacks import LEXICAL_RETRIEVAL
from services.query_encoder.settings import QueryEncoderSettings
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.settings import FusionSettings, RetrievalSettings
from services.retrieval.wiring import build_retriever

# Candidates of a search, as the gateway asks retrieval for.
CANDIDATES = 200
# Ranks of hard negatives: among the first ranks unjudged right answers are frequent.
NEGATIVE_RANKS = slice(5, 60)
TENANT = "default"
_TIMEOUT_S, _IMPORT_TIMEOUT_S = 60.0, 600.0
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]
_STREAM, _IN_FLIGHT, _MAX_QUERY = 2_000, 2, 512

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ModelChoice:
    """An encoder and the version of its vectors. `model_dir` None: the embedded one.

    `exported`: the folder of its ONNX form, which is written if it is missing; None: that of the settings.
    """

    model_dir: Path | None
    version: str
    exported: Path | None = None

    def settings(self) -> dict[str, Any]:
        cache = {} if self.exported is None else {"model_cache_dir": self.exported}
        return {"model_dir": self.model_dir, "model_version": self.version} | cache


@dataclass(frozen=True)
class TrainedSearch:
    """The settings that serve a trained search."""

    model: ModelChoice
    fusion: FusionSettings


@dataclass(frozen=True)
class EncodedQuery:
    text: str
    vector: np.ndarray[Any, np.dtype[np.float32]] | None


def configured_search() -> TrainedSearch:
    """What the settings of the services name: the embedded encoder and fixed weights by default."""
    encoder = QueryEncoderSettings()
    return TrainedSearch(ModelChoice(encoder.model_dir, encoder.model_version), RetrievalSettings().fusion)


class SearchedCatalogue:
    """What was stored for an encoder stays in `folder`: the same encoder does not embed the catalogue again."""

    def __init__(self, products: Sequence[Product], folder: Path) -> None:
        self.products, self._folder = products, folder

    @contextmanager
    def served(self, search: TrainedSearch, **encoder: Any) -> Iterator[InProcessSuite]:
        """`encoder`: more settings of the query encoder. Events that an earlier suite recorded are not known."""
        state = self.state(search.model)
        state.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(state / "ranker", ignore_errors=True)
        with in_process_suite(state, search.fusion, search.model.settings() | encoder) as suite:
            if not (done := state / "complete").exists():
                _store(suite, self.products)
                done.touch()
            yield suite

    def state(self, model: ModelChoice) -> Path:
        return self._folder / quote(model.version, safe="@")

    def negatives(self, search: TrainedSearch, queries: Sequence[str]) -> dict[str, list[str]]:
        """Hard negatives by query: product ids that lexical retrieval finds."""
        with self.served(search) as suite:
            encoded = _encoded(suite, queries)
            with grpc.insecure_channel(suite.stages_target, _OPTIONS) as channel:
                stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)

                def found(query: str) -> list[str]:
                    request = retrieval_pb2.RetrieveCandidatesRequest(
                        context=_context(), text=encoded[query].text, limit=NEGATIVE_RANKS.stop
                    )
                    return list(stub.RetrieveCandidates(request, timeout=_TIMEOUT_S).candidates.ids)[NEGATIVE_RANKS]

                return each(found, queries, "Mining negatives")

    def fusion_features(
        self, model: ModelChoice, queries: Sequence[str]
    ) -> Iterator[tuple[str, Sequence[str], np.ndarray[Any, np.dtype[np.float32]]]]:
        """Of each query its candidates and their features [candidates, FEATURES], by the code that serves them."""
        with self.served(TrainedSearch(model, FusionSettings())) as suite:
            encoded = _encoded(suite, queries)
        data_dir = self.state(model) / "retrieval"
        retriever = build_retriever(
            RetrievalSettings(data_dir=data_dir, engine="edge", registry_dir=None, registry_url="")
        )
        try:
            for query in tqdm(queries, desc="Candidates", unit=" queries", disable=None):
                asked = RetrievalQuery(encoded[query].text, encoded[query].vector, limit=CANDIDATES)
                yield query, *retriever.fusion_features(TENANT, asked)
        finally:
            retriever.close()

    def results(self, search: TrainedSearch, queries: Sequence[str], count: int) -> dict[str, list[str]]:
        """By query: the ids that the gateway gives to a shopper it does not know, best first.

        Raises RuntimeError if a stage was late or failed.
        """
        with self.served(search) as suite, grpc.insecure_channel(suite.gateway_target, _OPTIONS) as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)

            def found(query: str) -> list[str]:
                request = gateway_pb2.SearchRequest(query=query[:_MAX_QUERY], page_size=count)
                answer = stub.Search(request, timeout=_TIMEOUT_S)
                if any(degradation.fallback != LEXICAL_RETRIEVAL for degradation in answer.degradations):
                    raise RuntimeError(f"{query!r}: a stage was late or failed: {answer.degradations}")
                return [result.product.id for result in answer.results]

            return each(found, queries, "Searching")


def each(work: Callable[[str], Answer], queries: Sequence[str], what: str) -> dict[str, Answer]:
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        answers = tqdm(pool.map(work, queries), total=len(queries), desc=what, unit=" queries", disable=None)
        return dict(zip(queries, answers, strict=True))


def _store(suite: InProcessSuite, products: Sequence[Product]) -> None:
    messages = ((product_to_proto(product), b"") for product in products)
    with grpc.insecure_channel(suite.gateway_target, _OPTIONS) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        with tqdm(total=len(products), desc="Storing products", unit=" products", disable=None) as bar:
            while batch := list(islice(messages, _STREAM)):
                answer = stub.ImportProducts(import_messages(batch), timeout=_IMPORT_TIMEOUT_S)
                if answer.rejected:
                    first = answer.rejected[0]
                    raise ValueError(f"product {batch[first.index][0].id!r}: {first.field} {first.reason}")
                bar.update(len(batch))


def _encoded(suite: InProcessSuite, queries: Sequence[str]) -> Mapping[str, EncodedQuery]:
    """By query: the text and the vector that the gateway searches with."""
    with grpc.insecure_channel(suite.stages_target, _OPTIONS) as channel:
        stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)

        def encode(query: str) -> EncodedQuery:
            request = encoder_pb2.EncodeQueryRequest(context=_context(), text=query[:_MAX_QUERY])
            answer = stub.EncodeQuery(request, timeout=_TIMEOUT_S)
            vector = vectors_from_proto(answer.vector, "vector") if answer.HasField("vector") else None
            expansions = [text for concept in answer.concepts for text in concept.expansions]
            return EncodedQuery(lookup_text(answer.retrieval_text, expansions), vector)

        return each(encode, queries, "Reading queries")


def _context() -> Any:
    return context_to_proto(RequestContext("training"))
