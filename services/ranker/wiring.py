"""Puts the ranker together, without Ray: tests and benchmarks use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from services.common.attributes_file import load_schemas
from services.common.models.follower import mirroring
from services.ranker.adapters.objective_file import ObjectiveFile
from services.ranker.adapters.sqlite_conversations import SqliteConversationStore
from services.ranker.adapters.sqlite_counts import SqliteCountStore
from services.ranker.adapters.sqlite_ranking_store import SqliteRankingStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.adapters.trees_ranker import KIND as TREES
from services.ranker.adapters.trees_ranker import TreesRanker
from services.ranker.adapters.version_manifest import read_manifest
from services.ranker.domain import baselines
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Ranker, Scores
from services.ranker.domain.weighted_sum import weighted_sum
from services.ranker.handler import RankerHandler
from services.ranker.models.served import PREFIX, Served, blank_request
from services.ranker.models.served_models import ServedModels
from services.ranker.models.served_shoppers import FOLDER as SHOPPERS
from services.ranker.models.served_shoppers import ServedShoppers, Shopper
from services.ranker.ports import ConversationStore, CountStore, ProfileStore, RankingLimits, RankingStore
from services.ranker.settings import RankerSettings

if TYPE_CHECKING:
    import redis

# Grows with every change of the scoring function.
VERSION = 3


def build_handler(
    settings: RankerSettings, clock: Callable[[], float] = time.time, random: Random | None = None
) -> RankerHandler:
    """`clock` gives seconds since the epoch; `random` draws the exploration."""
    # First: an invalid file stops the start before a store is opened.
    schemas = load_schemas(settings.attributes_file)
    store = build_store(settings)
    mirror = mirroring(settings.models_dir, settings.registry_url, ("", SHOPPERS), settings.registry_poll_s)
    models, shoppers = build_models(settings, store), build_shopper_models(settings, store)
    return RankerHandler(
        store, build_ranking_store(settings), models, shoppers, build_count_store(settings),
        build_conversation_store(settings, clock), settings, clock, random, schemas=schemas, mirror=mirror,
    )  # fmt: skip


def build_models(settings: RankerSettings, store: ProfileStore) -> ServedModels:
    """The versions that the registry names, and the scoring function of the settings behind them."""
    # A network names its own version; the weighted sum replaces a network that cannot rank.
    name = "weighted-sum" if settings.ranker == "network" else settings.ranker
    built_in = Served("", f"{name}@{VERSION}", build_ranker(settings))
    return ServedModels(
        settings.models_dir, learned_loader(settings, built_in), built_in, store.add_counts, settings.registry_poll_s,
        settings.shadow_sample,
    )  # fmt: skip


def build_shopper_models(settings: RankerSettings, store: ProfileStore) -> ServedShoppers:
    """The versions of the shopper model that the registry names."""

    def load(folder: Path) -> Shopper:
        # Imported here: without a version, ONNX Runtime is not needed.
        from services.ranker.adapters.shopper_version import ShopperVersion

        return ShopperVersion(folder)

    return ServedShoppers(settings.models_dir, load, store.add_counts, settings.registry_poll_s, settings.shadow_sample)


def build_ranker(settings: RankerSettings) -> Ranker:
    trivial: dict[str, Ranker] = {
        "popularity": baselines.by_popularity,
        "retrieval-order": baselines.by_retrieval,
        "nearest-to-mean": baselines.by_nearest_to_mean,
        "shuffle": baselines.by_shuffle,
    }
    weighted = weighted_ranker(settings)
    if settings.ranker != "network" or settings.model_dir is None:
        return trivial.get(settings.ranker, weighted)
    objective = ObjectiveFile(settings.objective_file, settings.objective)
    return _version(settings.model_dir, objective, weighted, weighted, f"ranker@{settings.model_dir.name}")


def weighted_ranker(settings: RankerSettings) -> Ranker:
    weights = settings.serving_weights
    return lambda request: weighted_sum(request, weights.of(request.is_search, request.weights))


def learned_loader(settings: RankerSettings, built_in: Served) -> Callable[[Path], Ranker]:
    """Makes a ranker of a version's folder in the registry, loaded and warm. Its answers are named after the version.

    What a version cannot rank is ranked by `built_in`, whose name the answer then has: for a network, candidates with
    vectors of another model than its own; for trees, lists of a kind that they do not serve.
    """
    objective, weighted = ObjectiveFile(settings.objective_file, settings.objective), weighted_ranker(settings)

    def otherwise(request: RankingRequest) -> Scores:
        scores = built_in.rank(request)
        return scores if scores.model_version else replace(scores, model_version=built_in.name)

    def load(folder: Path) -> Ranker:
        return _version(folder, objective, weighted, otherwise, f"{PREFIX}{folder.name}")

    return load


def _version(folder: Path, objective: ObjectiveFile, weighted: Ranker, otherwise: Ranker, name: str) -> Ranker:
    """Loaded and warm. Raises ValueError for a folder that was trained on other features."""
    if read_manifest(folder).get("kind") == TREES:
        return TreesRanker(folder, weighted, otherwise, name)
    # Imported here: without a network, ONNX Runtime is not needed.
    from services.ranker.adapters.onnx_ranker import OnnxRanker

    network = OnnxRanker(folder, objective, weighted, otherwise, name)
    network(blank_request(network.vector_version, network.dimensions))
    return network


def build_store(settings: RankerSettings) -> ProfileStore:
    if settings.store == "sqlite":
        return SqliteProfileStore(settings.data_dir)
    # Imported here: without Redis, its client is not needed.
    from services.ranker.adapters.redis_store import RedisProfileStore

    return RedisProfileStore(_redis_client(settings))


def build_ranking_store(settings: RankerSettings) -> RankingStore:
    rankings, sessions = settings.rankings, settings.sessions
    limits = RankingLimits(rankings.ttl_s, rankings.count, sessions.ttl_s, sessions.count)
    if settings.store == "sqlite":
        return SqliteRankingStore(settings.data_dir, limits, sessions.step)
    from services.ranker.adapters.redis_ranking_store import RedisRankingStore

    return RedisRankingStore(_redis_client(settings), limits, sessions.step)


def build_count_store(settings: RankerSettings) -> CountStore:
    if settings.store == "sqlite":
        return SqliteCountStore(settings.data_dir)
    from services.ranker.adapters.redis_counts import RedisCountStore

    return RedisCountStore(_redis_client(settings))


def build_conversation_store(settings: RankerSettings, clock: Callable[[], float] = time.time) -> ConversationStore:
    limits = settings.conversations.limits
    if settings.store == "sqlite":
        return SqliteConversationStore(settings.data_dir, limits, clock)
    from services.ranker.adapters.redis_conversations import RedisConversationStore

    return RedisConversationStore(_redis_client(settings), limits, clock)


def _redis_client(settings: RankerSettings) -> redis.Redis:
    from services.common.redis_connection import redis_client

    return redis_client(settings.redis_url)
