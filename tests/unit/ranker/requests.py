"""Random ranking requests with the properties of a shop's, for the tests of scores and their explanations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from services.ranker.domain.features.price_affinity import price_affinity
from services.ranker.domain.profile import Profile, build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights
from tests.unit.ranker.histories import NOW_S, entry, features, user_history

WEIGHTS = Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5, shopper=0.1, neighbours=0.5)
DIMENSIONS = 8


def drawn(seed: int, count: int = 31, events: int = 6) -> RankingRequest:
    """Candidates in retrieval order, some without price or stock, and a user with events on similar items."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prices = random.lognormal(3, 1, count)
    prices[::7] = np.nan
    history = user_history(
        *(
            entry(
                features(f"h{n}", *(vectors[n] + random.normal(0, 0.2, DIMENSIONS)), price=float(20 + n)), age_s=60 * n
            )
            for n in range(events)
        )
    )
    return RankingRequest(
        item_ids=[f"i{n}" for n in range(count)],
        retrieval_scores=np.sort(random.uniform(0.2, 0.9, count))[::-1].astype(np.float32),
        vectors=vectors,
        prices=prices.astype(np.float32),
        stocks=random.choice([-1, 0, 5], count).astype(np.float32),
        popularity=random.exponential(5, count).astype(np.float32),
        query=vectors[0],
        profile=build_profile(history, "m@1", DIMENSIONS, NOW_S),
        categories=["Shoes"] * count,
        brands=["B"] * count,
        user_history=history,
        model_version="m@1",
        now_s=NOW_S,
        created_s=NOW_S - random.uniform(0, 1e7, count),
        shopper_scores=random.normal(0, 2, count).astype(np.float32),
        neighbour_scores=random.exponential(0.1, count).astype(np.float32),
        is_search=True,
        dense_scores=random.uniform(0, 1, count).astype(np.float32),
        lexical_scores=random.exponential(5, count).astype(np.float32),
    )


def without(request: RankingRequest, group: ReasonType) -> RankingRequest:
    """The request without the group's data. Not for the query: without it retrieval returns other candidates."""
    profile, count = request.profile, len(request.item_ids)
    if group is ReasonType.RECENT_HISTORY:
        nobody = Profile(
            (), np.zeros((0, DIMENSIONS), np.float32), np.zeros(0, np.float32), profile.price, profile.prices
        )
        return replace(request, profile=nobody, user_history=UserHistory(), shopper_scores=None, neighbour_scores=None)
    # A price is not removed: the median candidate's price replaces it.
    middle = np.argsort(price_affinity(request), kind="stable")[count // 2]
    unknown: dict[ReasonType, dict[str, Any]] = {
        ReasonType.PRICE_AFFINITY: {"prices": np.full(count, request.prices[middle], np.float32)},
        ReasonType.POPULARITY: {"popularity": np.zeros(count, np.float32)},
        ReasonType.AVAILABILITY: {"stocks": np.full(count, -1, np.float32), "created_s": None},
    }
    return replace(request, **unknown.get(group, {}))
