"""Puts the ranker together. No Ray here: tests and benchmarks use it as it is."""

from __future__ import annotations

from functools import partial

from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain import ranking
from services.ranker.handler import RankerHandler
from services.ranker.ports import ProfileStore
from services.ranker.served_models import Served, ServedModels
from services.ranker.settings import RankerSettings

# Grows with every change of the scoring function.
VERSION = 2


def build_handler(settings: RankerSettings) -> RankerHandler:
    store = build_store(settings)
    return RankerHandler(store, build_models(settings, store), settings.workers, settings.exploration)


def build_models(settings: RankerSettings, store: ProfileStore) -> ServedModels:
    """What the registry says, over the scoring function of the settings."""
    built_in = Served("", f"{settings.ranker}@{VERSION}", build_ranker(settings))
    return ServedModels(
        settings.models_dir,
        load_learned(settings),
        built_in,
        store.add_counts,
        settings.registry_poll_s,
        settings.shadow_sample,
    )


def build_ranker(settings: RankerSettings) -> ranking.Ranker:
    baselines: dict[str, ranking.Ranker] = {
        "popularity": ranking.by_popularity,
        "retrieval-order": ranking.by_retrieval,
        "nearest-to-mean": ranking.by_nearest_to_mean,
        "shuffle": ranking.by_shuffle,
    }
    weights = ranking.Weights(**settings.weights.model_dump())
    return baselines.get(settings.ranker, partial(ranking.weighted_sum, weights=weights))


def build_store(settings: RankerSettings) -> ProfileStore:
    if settings.store == "sqlite":
        return SqliteProfileStore(settings.data_dir)
    # Imported here: without Redis, nobody needs its client.
    import redis

    from services.ranker.adapters.redis_store import RedisProfileStore

    return RedisProfileStore(redis.Redis.from_url(settings.redis_url))
