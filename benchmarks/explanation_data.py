"""Ranking requests of the demo shop with the suite's own vectors and candidates, and a network trained for the shop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import grpc
from tqdm import tqdm

from benchmarks.adaptation import Shop, history
from benchmarks.ranker_data import simulated_lists
from demo.catalogue import build_catalogue
from demo.shoppers import DemoEvent, build_shoppers, simulate_events
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.gateway.v1 import gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from ops.in_process import in_process_suite
from services.common.context import DEFAULT_TENANT
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.convert import candidate_vectors, ranking_request
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

CANDIDATES = 200
DAYS = 30
EPOCHS = 4


def demo_requests(folder: Path, size: int, shoppers: int, seed: int) -> Iterator[RankingRequest]:
    """One search of each shopper with a history: for one of their favourite categories, in their language."""
    products = build_catalogue(seed, size)
    people = build_shoppers(products, shoppers, seed)
    months: dict[str, list[DemoEvent]] = {person.id: [] for person in people}
    for event in simulate_events(people, products, DAYS, seed):
        if event.item_id:
            months[event.user_id].append(event)
    named = {product.category_path: product for product in products}
    with in_process_suite(folder) as suite, grpc.insecure_channel(suite.gateway_target) as gateway:
        shop = Shop(gateway_pb2_grpc.GatewayServiceStub(gateway), products)
        shop.import_all(folder)
        now = datetime.now(UTC)
        for person in people:
            shop.record(history(shop, months[person.id], now - timedelta(minutes=5), person.id))
        options = [("grpc.max_receive_message_length", 64 << 20)]
        store = SqliteProfileStore(folder / "ranker")
        with grpc.insecure_channel(suite.stages_target, options) as stages:
            for person in tqdm([one for one in people if months[one.id]], desc="searches"):
                shelf = named[Random(f"{seed}/{person.id}/asked").choice(sorted(person.shelves))]
                path = shelf.category_path_zh if person.language == "zh" else shelf.category_path
                yield _request(stages, store, person.id, path[-1].lower())
        store.close()


def trained_network(folder: Path, size: int, shoppers: int, seed: int) -> Path:
    """Trained on simulated lists of the same catalogue; returns `folder`."""
    lists = simulated_lists(size, shoppers, DAYS, seed)
    request = lists.requests[0]
    network = LearnableRanker(
        NetworkSettings(request.vectors.shape[1]), vector_version=request.model_version, seed=seed
    )
    network.update(lists.examples, EPOCHS, seed, quiet=False)
    # Explanations are of its score, which every candidate is to have.
    network.reranked = CANDIDATES
    network.save(folder)
    return folder


def _request(stages: grpc.Channel, store: SqliteProfileStore, user_id: str, query: str) -> RankingRequest:
    """The request that gateway and handler give to the ranker's domain."""
    encoder = encoder_pb2_grpc.QueryEncoderServiceStub(stages)
    retrieval = retrieval_pb2_grpc.RetrievalServiceStub(stages)
    read = encoder.EncodeQuery(encoder_pb2.EncodeQueryRequest(text=query))
    found = retrieval.RetrieveCandidates(
        retrieval_pb2.RetrieveCandidatesRequest(
            text=read.retrieval_text, query_vectors=read.vector if read.HasField("vector") else None,
            limit=CANDIDATES, with_vectors=True,
        )
    )  # fmt: skip
    message = ranker_pb2.RankItemsRequest(user_id=user_id, candidates=found.candidates)
    if read.HasField("vector"):
        message.query_vector.CopyFrom(read.vector)
    now_s, vectors = time.time(), candidate_vectors(found.candidates)
    user_history = store.user_history(DEFAULT_TENANT, user_id)
    profile = build_profile(user_history, found.candidates.vectors.model_version, vectors.shape[1], now_s)
    popularity = store.popularity(DEFAULT_TENANT, found.candidates.ids, now_s)
    return ranking_request(message, vectors, popularity, profile, user_history, now_s)
