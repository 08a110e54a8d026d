"""Candidates in, scores and their parts out: the first honest scoring function, and trivial baselines beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.ranker.domain.event import FloatArray
from services.ranker.domain.profile import Profile
from services.ranker.domain.user_history import UserHistory

BoolArray: TypeAlias = npt.NDArray[np.bool_]


class ReasonType(Enum):
    QUERY_MATCH = "query_match"
    RECENT_HISTORY = "recent_history"
    PRICE_AFFINITY = "price_affinity"
    POPULARITY = "popularity"
    AVAILABILITY = "availability"
    SPONSORED = "sponsored"


@dataclass(frozen=True)
class RankingRequest:
    """n candidates in retrieval order. `vectors` [n, dimensions] may hold zero rows; `prices` NaN; `stocks` -1.

    `popularity` [n] is not negative. `query` is a unit vector [dimensions], or None. `categories` and `brands` are ""
    where unknown. `user_history` are what `profile` was made of, `model_version` is of all vectors, `now_s` in seconds
    since the epoch. `created_s` [n] is 0 where unknown; None: nowhere known. `retrieval_bounds` are the lowest and the
    highest retrieval score of the candidates that these are a part of; None: these are all.
    """

    item_ids: Sequence[str]
    retrieval_scores: FloatArray
    vectors: FloatArray
    prices: FloatArray
    stocks: FloatArray
    popularity: FloatArray
    query: FloatArray | None
    profile: Profile
    categories: Sequence[str]
    brands: Sequence[str]
    user_history: UserHistory = field(default_factory=UserHistory)
    model_version: str = ""
    now_s: float = 0.0
    created_s: npt.NDArray[np.float64] | None = None
    retrieval_bounds: tuple[float, float] | None = None


class Masked(Protocol):
    """Some of a request's candidates, n of them, scored as if less were known (domain/attribution.py)."""

    def score(self, known: BoolArray) -> npt.NDArray[np.floating[Any]]:
        """Scores [c, n]; `known` [c, 6] says which groups are, in the order of ReasonType."""

    def acts(self) -> FloatArray:
        """[n, items of the profile]: how loud the acts on each item speak, negative against the candidate."""


@dataclass(frozen=True)
class Scores:
    """`total` [n] makes the order. Every array has shape [n].

    `parts` add up to `total`; a ranker that is no sum has none. `tasks` are probabilities by task ("click", "cart",
    "purchase"); a ranker that predicts nothing has none. `model_version` is empty where there is but one. `masked`
    tells of some rows what the ranker would say with less known; None: what `parts` say.
    """

    total: FloatArray
    parts: Mapping[ReasonType, FloatArray] = field(default_factory=dict)
    tasks: Mapping[str, FloatArray] = field(default_factory=dict)
    model_version: str = ""
    masked: Callable[[Sequence[int]], Masked] | None = None

    @classmethod
    def sum_of(cls, parts: Mapping[ReasonType, FloatArray]) -> Scores:
        total: FloatArray = np.sum(list(parts.values()), axis=0, dtype=np.float32)
        return cls(total, parts)


@dataclass(frozen=True)
class Weights:
    """How much each part may add to a score."""

    query: float
    history: float
    price: float
    popularity: float
    availability: float


def weighted_sum(request: RankingRequest, weights: Weights) -> Scores:
    """Query match + similarity to the user's history + price affinity + popularity - out of stock."""
    return Scores.sum_of(
        {
            ReasonType.QUERY_MATCH: weights.query * query_match(request),
            ReasonType.RECENT_HISTORY: weights.history * history_match(request.vectors, request.profile),
            ReasonType.PRICE_AFFINITY: weights.price * price_affinity(request),
            ReasonType.POPULARITY: weights.popularity * saturated(request.popularity),
            ReasonType.AVAILABILITY: np.where(request.stocks == 0, -weights.availability, 0).astype(np.float32),
        }
    )


def query_match(request: RankingRequest) -> FloatArray:
    """Retrieval's scores scaled to [0, 1]: whatever joined its halves has weighed meaning against words already."""
    scores = request.retrieval_scores
    low, high = request.retrieval_bounds or (float(scores.min(initial=np.inf)), float(scores.max(initial=-np.inf)))
    if high <= low:
        return np.ones_like(scores, dtype=np.float32)
    match: FloatArray = ((scores - low) / (high - low)).astype(np.float32)
    return match


def history_match(vectors: FloatArray, profile: Profile) -> FloatArray:
    """Target attention without parameters (after Zhou et al., KDD 2018): each candidate asks the events like it.

    Cosines below 0.3 are noise in this space and count nothing; what was put back speaks against. In [-1, 1].
    """
    if not profile.size:
        return np.zeros(len(vectors), np.float32)
    spoken = attention(vectors, profile).sum(axis=1)
    strength = float(np.tanh(np.abs(profile.weights).sum()))
    match: FloatArray = (strength * np.tanh(spoken)).astype(np.float32)
    return match


def attention(vectors: FloatArray, profile: Profile) -> FloatArray:
    """[n, items of the profile]: how loud each item of the history speaks for a candidate, or against it."""
    similarity = np.clip((vectors @ profile.vectors.T - 0.3) / 0.7, 0, 1)
    loud: FloatArray = similarity**2 * (profile.weights / max(float(np.abs(profile.weights).max(initial=0)), 1e-9))
    return loud


def price_affinity(request: RankingRequest) -> FloatArray:
    """1 at what the user usually pays in the item's category, falling off with the log distance.

    Where the category is new to the user, by the usual price of all; 0 where prices are unknown.
    """
    distance, known = price_distance(request)
    return np.where(known, np.exp(-0.5 * distance**2), 0).astype(np.float32)


def price_distance(request: RankingRequest) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(log distance to the usual price in spreads [n], negative where cheaper; whether it is known [n])."""
    profile, prices = request.profile, request.prices
    if profile.price is None or not len(prices):
        return np.zeros(len(prices), np.float32), np.zeros(len(prices), np.bool_)
    tastes = [profile.prices.get(category, profile.price) for category in request.categories]
    means, spreads = (np.array(column) for column in zip(*((t.mean, t.spread) for t in tastes), strict=True))
    known = np.isfinite(prices) & (prices > 0)
    distance = (np.log(np.where(known, prices, 1.0)) - means) / spreads
    return np.where(known, distance, 0).astype(np.float32), known


def saturated(popularity: FloatArray) -> FloatArray:
    """Counts to [0, 1): ten acts make about a half of all that popularity can say."""
    return (popularity / (popularity + 10.0)).astype(np.float32)


# The baselines, on the same interface.
def by_popularity(request: RankingRequest) -> Scores:
    return Scores.sum_of({ReasonType.POPULARITY: request.popularity})


def by_retrieval(request: RankingRequest) -> Scores:
    return Scores.sum_of({ReasonType.QUERY_MATCH: request.retrieval_scores})


def by_nearest_to_mean(request: RankingRequest) -> Scores:
    """Cosine with the weighted mean of the user's items."""
    profile = request.profile
    mean = profile.weights @ profile.vectors if profile.size else np.zeros(request.vectors.shape[1], np.float32)
    return Scores.sum_of({ReasonType.RECENT_HISTORY: (request.vectors @ mean).astype(np.float32)})


def by_shuffle(request: RankingRequest) -> Scores:
    """No opinion, the same each time: the order of the ids' digests."""
    digests = [hashlib.blake2b(item_id.encode(), digest_size=4).digest() for item_id in request.item_ids]
    values = np.array([int.from_bytes(digest, "little") for digest in digests], np.float32)
    return Scores.sum_of({ReasonType.QUERY_MATCH: values / np.float32(2**32)})


Ranker = Callable[[RankingRequest], Scores]
