"""Stored rankings for the tests, and a comparison of values that hold arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_source import CandidateSource
from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION
from services.ranker.domain.shown_prices import ShownPrices
from services.ranker.domain.stored_ranking import ItemColumns, LoggedFeatures, LoggedPolicy, StoredRanking
from services.ranker.domain.user_features import CONTEXT, EVENT_NUMBERS


def made_ranking(
    *item_ids: str,
    ranking: str = "r",
    user: str = "u",
    visitor: str = "",
    ranked_s: float = 0.0,
    features: bool = True,
    seed: int = 0,
    dimensions: int = 2,
) -> StoredRanking:
    """A ranking of items with arbitrary scores and features."""
    random, n = np.random.default_rng(seed), len(item_ids)
    return StoredRanking(
        ranking_id=ranking, user_id=user, visitor_id=visitor, session_id="s", query="q", model_version="m",
        item_ids=list(item_ids), scores=numbers(random, n), propensities=numbers(random, n), total_size=1_000,
        ranked_s=ranked_s, candidate_source=CandidateSource.QUERY, experiment_arms={"colour": "blue"},
        leg_scores={"dense": numbers(random, n), "lexical": numbers(random, n)},
        logged=logged(random, n, dimensions) if features else None,
        items=ItemColumns(
            list(item_ids[:2]), (100 * numbers(random, len(item_ids[:2]), dimensions)).astype(np.int8), "m@1",
            np.full(len(item_ids[:2]), np.nan), ["Shoes"] * len(item_ids[:2]), ["B"] * len(item_ids[:2]),
        ),
        policy=LoggedPolicy(np.arange(n, 0, -1, dtype=np.int32), np.ones(n, np.int32), 0.25) if features else None,
    )  # fmt: skip


def shown_prices(*quote_ids: str, offers: Sequence[int] = (1_990, 70_000, 0)) -> ShownPrices:
    """Of three items, of which the last has no price."""
    return ShownPrices(
        "wholesale", "oslo", ["USD", "NOK", ""], np.array(offers, np.int64), np.array([2_490, 70_000, 0], np.int64),
        ["overstock", "fallback", ""], list(quote_ids) or ["9f" * 16, "", ""], np.array([True, False, True]),
    )  # fmt: skip


def logged(random: np.random.Generator, n: int, dimensions: int) -> LoggedFeatures:
    long_term, query = (numbers(random, dimensions).astype("<f2").astype(np.float32) for _ in range(2))
    return LoggedFeatures(
        FEATURES_VERSION, "m@1", CANDIDATE_NUMBERS, numbers(random, n, len(CANDIDATE_NUMBERS)), ["i1", "i2", "i1"],
        np.array([1, 3, 2], np.int64), numbers(random, 3, len(EVENT_NUMBERS)), long_term, query,
        numbers(random, len(CONTEXT)),
    )  # fmt: skip


def numbers(random: np.random.Generator, *shape: int) -> FloatArray:
    return random.random(shape).astype(np.float32)


def same(one: Any, other: Any) -> bool:
    """Whether two values that hold arrays are equal bit by bit. NaN equals NaN."""
    if isinstance(one, np.ndarray):
        return bool(one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes())
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    is_equal: bool = one == other or (one != one and other != other)
    return is_equal
