"""Trivial rankers on the interface of the learned ones: a model that does not beat them is not worth serving."""

from __future__ import annotations

import hashlib

import numpy as np

from services.ranker.domain.features.type_match import type_match
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.scores import Scores


def by_popularity(request: RankingRequest) -> Scores:
    return Scores.sum_of({ReasonType.POPULARITY: request.popularity})


def by_retrieval(request: RankingRequest) -> Scores:
    scores = request.retrieval_scores
    spread = np.float32(np.ptp(request.retrieval_bounds or scores))
    return Scores.sum_of({ReasonType.QUERY_MATCH: scores + spread * type_match(request)})


def by_nearest_to_mean(request: RankingRequest) -> Scores:
    """Cosine with the weighted mean of the user's items."""
    profile = request.profile
    mean = profile.weights @ profile.vectors if profile.size else np.zeros(request.vectors.shape[1], np.float32)
    return Scores.sum_of({ReasonType.RECENT_HISTORY: (request.vectors @ mean).astype(np.float32)})


def by_shuffle(request: RankingRequest) -> Scores:
    """A fixed arbitrary order: that of the ids' digests."""
    digests = [hashlib.blake2b(item_id.encode(), digest_size=4).digest() for item_id in request.item_ids]
    values = np.array([int.from_bytes(digest, "little") for digest in digests], np.float32)
    return Scores.sum_of({ReasonType.QUERY_MATCH: values / np.float32(2**32)})
