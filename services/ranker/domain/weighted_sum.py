"""The scoring function that needs no training: a weighted sum of candidate features."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np

from services.ranker.domain.event_shares import Basis
from services.ranker.domain.features.neighbour_match import neighbour_match
from services.ranker.domain.features.popularity import saturated
from services.ranker.domain.features.price_affinity import price_affinity
from services.ranker.domain.features.query_match import query_match
from services.ranker.domain.features.shopper_match import shopper_match
from services.ranker.domain.features.type_match import type_match
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.scores import Scores
from services.ranker.domain.weights import Weights


def weighted_sum(request: RankingRequest, weights: Weights) -> Scores:
    """Query and type match + history, shopper model and neighbours + price affinity + popularity - out of stock."""
    of_history = {
        Basis.SIMILAR: weights.history * request.history_match,
        Basis.SHOPPER: weights.shopper * shopper_match(request),
        Basis.TOGETHER: weights.neighbours * neighbour_match(request),
    }
    scores = Scores.sum_of(
        {
            ReasonType.QUERY_MATCH: weights.query * (query_match(request) + type_match(request)),
            ReasonType.RECENT_HISTORY: reduce(np.add, of_history.values()),
            ReasonType.PRICE_AFFINITY: weights.price * price_affinity(request),
            ReasonType.POPULARITY: weights.popularity * saturated(request.popularity),
            ReasonType.AVAILABILITY: np.where(request.stocks == 0, -weights.availability, 0).astype(np.float32),
        }
    )
    return replace(scores, of_history=of_history)
