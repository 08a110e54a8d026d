"""Puts the ranker together. No Ray here: tests and benchmarks use it as it is."""

from __future__ import annotations

from functools import partial

from services.ranker.adapters.objective_file import ObjectiveFile
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain import ranking
from services.ranker.handler import RankerHandler
from services.ranker.ports import ProfileStore
from services.ranker.settings import RankerSettings

# Grows with every change of the scoring function.
VERSION = 2


def build_handler(settings: RankerSettings) -> RankerHandler:
    # A network names its own version; what stands in for it is the weighted sum.
    name = "weighted-sum" if settings.ranker == "network" else settings.ranker
    return RankerHandler(
        build_store(settings), build_ranker(settings), f"{name}@{VERSION}", settings.workers, settings.exploration
    )


def build_ranker(settings: RankerSettings) -> ranking.Ranker:
    baselines: dict[str, ranking.Ranker] = {
        "popularity": ranking.by_popularity,
        "retrieval-order": ranking.by_retrieval,
        "nearest-to-mean": ranking.by_nearest_to_mean,
        "shuffle": ranking.by_shuffle,
    }
    weighted: ranking.Ranker = partial(ranking.weighted_sum, weights=ranking.Weights(**settings.weights.model_dump()))
    if settings.ranker != "network" or settings.model_dir is None:
        return baselines.get(settings.ranker, weighted)
    # Imported here: without a network, nobody needs ONNX Runtime.
    from services.ranker.adapters.onnx_ranker import OnnxRanker

    return OnnxRanker(settings.model_dir, ObjectiveFile(settings.objective_file, settings.objective), weighted)


def build_store(settings: RankerSettings) -> ProfileStore:
    if settings.store == "sqlite":
        return SqliteProfileStore(settings.data_dir)
    # Imported here: without Redis, nobody needs its client.
    import redis

    from services.ranker.adapters.redis_store import RedisProfileStore

    return RedisProfileStore(redis.Redis.from_url(settings.redis_url))
