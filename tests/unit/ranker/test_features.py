"""The candidate features: their values, and their registry, which is built from the files of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.ranker.domain import features as folder
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.event import EventType
from services.ranker.domain.features import CANDIDATE_FEATURES, CANDIDATE_NUMBERS
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.user_features import CONTEXT, EVENT_NUMBERS
from tests.unit.ranker.histories import NOW_S, entry, features, user_history

# A boot that the user knows, a lamp that the user bought, a desk that was shown twice, and an item with nothing known.
FROZEN = {
    "acted_on": [1.0, 1.0, 0.0, 0.0],
    "age_known": [1.0, 0.0, 1.0, 1.0],
    "brand_share": [1.0, 1.0, 0.0, 0.0],
    "category_share": [0.82131314, 0.17868684, 0.0, 0.0],
    "dense_score": [0.9, 0.6, 0.85, 0.0],
    "attribute_match": [1.0, -0.5, 0.0, 0.25],
    "history_match": [0.748964, 0.21064132, 0.38296327, 0.0],
    "history_size": [1.0986123, 1.0986123, 1.0986123, 1.0986123],
    "is_search": [1.0, 1.0, 1.0, 1.0],
    "last_brand": [1.0, 1.0, 0.0, 0.0],
    "last_category": [1.0, 0.0, 0.0, 0.0],
    "last_cosine": [1.0, 0.19514285, 0.7168528, 0.0],
    "lasting_cosine": [0.7553941, 0.7900829, 0.88679576, 0.0],
    "lexical_score": [7.5, 0.0, 0.0, 3.25],
    "log_age": [2.3978953, 0.0, 0.040821996, 0.0],
    "log_popularity": [2.6026897, 0.0, 1.446919, 0.40546513],
    "log_price": [4.787492, 2.9704144, 5.480639, 0.0],
    "log_stock": [1.3862944, 0.0, 0.0, 6.908755],
    "neighbour_match": [0.5, 0.0, 1.5, 0.0],
    "neighbour_rank": [0.083333336, 0.0, 0.09090909, 0.0],
    "out_of_stock": [0.0, 1.0, 0.0, 0.0],
    "popularity": [0.5555556, 0.0, 0.24528302, 0.04761905],
    "price_affinity": [0.7197841, 0.8838515, 0.03292133, 0.0],
    "price_distance": [0.8109303, -0.49692285, 2.6129043, 0.0],
    "price_known": [1.0, 1.0, 1.0, 0.0],
    "query_cosine": [0.90213424, 0.5970223, 0.8528908, 0.0],
    "query_match": [1.0, 0.71428573, 0.2857143, 0.0],
    "retrieval_rank": [0.09090909, 0.083333336, 0.07692308, 0.071428575],
    "review_sentiment": [0.5, 0.0, -0.25, 0.0],
    "shopper_match": [2.5, -1.0, 0.75, 0.0],
    "shopper_rank": [0.09090909, 0.071428575, 0.083333336, 0.0],
    "type_match": [1.01, 0.0, 0.1, 0.0],
    "shown_without_click": [0.6931472, 0.0, 1.0986123, 0.0],
}
FROZEN_EVENTS = {
    "age": [4.1108737, 6.398595, 8.881975, 11.366755],
    "log_price": [4.3820267, 3.218876, 4.3820267, 3.218876],
    "price_known": [1.0, 1.0, 1.0, 1.0],
}
FROZEN_CONTEXT = {
    "hour_sin": 0.4461978, "hour_cos": 0.89493436, "is_weekend": 1.0, "has_query": 1.0, "has_history": 1.0,
    "event_count": 1.609438,
}  # fmt: skip


@pytest.fixture(scope="module")
def request_of_four() -> RankingRequest:
    boot = features("boot", 1, 0.2, 0, price=80.0, category="Shoes")
    lamp = features("lamp", 0, 1, 0.1, price=25.0, category="Lamps")
    history = user_history(
        entry(boot, EventType.CLICK, 60, "e1"),
        entry(lamp, EventType.PURCHASE, 86_400, "e2"),
        entry(boot, EventType.CART, 7_200, "e3"),
        entry(lamp, EventType.DWELL, 600, "e4", 30_000),
        shown=[("boot", NOW_S - 30), ("desk", NOW_S - 500), ("desk", NOW_S - 900)],
    )
    vectors = np.array([[1, 0.2, 0], [0, 1, 0.1], [0.6, 0.6, 0.5], [0, 0, 0]], np.float32)
    return RankingRequest(
        item_ids=["boot", "lamp", "desk", "bare"],
        retrieval_scores=np.array([0.9, 0.7, 0.4, 0.2], np.float32),
        vectors=vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9)),
        prices=np.array([120.0, 19.5, 240.0, np.nan], np.float32),
        stocks=np.array([3, 0, -1, 5_000], np.float32),
        popularity=np.array([12.5, 0.0, 3.25, 0.5], np.float32),
        query=np.array([0.8, 0.6, 0.0], np.float32),
        profile=build_profile(history, "m@1", 3, NOW_S),
        categories=["Shoes", "Lamps", "Desks", ""],
        brands=["B", "B", "C", ""],
        user_history=history,
        model_version="m@1",
        now_s=NOW_S,
        created_s=np.array([NOW_S - 86_400 * 10, 0, NOW_S - 3_600, NOW_S + 60], np.float64),
        shopper_scores=np.array([2.5, -1.0, 0.75, 0.0], np.float32),
        neighbour_scores=np.array([0.25, 0.0, 2.25, 0.0], np.float32),
        is_search=True,
        dense_scores=np.array([0.9, 0.6, 0.85, 0.0], np.float32),
        lexical_scores=np.array([7.5, 0.0, 0.0, 3.25], np.float32),
        attribute_matches=np.array([1.0, -0.5, 0.0, 0.25], np.float32),
        type_match=np.array([1.01, 0.0, 0.1, 0.0], np.float32),
        review_sentiments=np.array([0.5, 0.0, -0.25, 0.0], np.float32),
    )


@pytest.mark.parametrize("name", CANDIDATE_NUMBERS)
def test_a_feature_keeps_its_values(name: str, request_of_four: RankingRequest) -> None:
    """The value of each candidate feature for a fixed request: a change needs a higher FEATURES_VERSION."""
    _, candidates = features_of(request_of_four)
    np.testing.assert_allclose(candidates.numbers[:, CANDIDATE_NUMBERS.index(name)], FROZEN[name], rtol=1e-6, atol=1e-7)


def test_the_features_of_the_user_keep_their_values(request_of_four: RankingRequest) -> None:
    """The event sequence, newest first, the long-term vector and the context, for a fixed request."""
    user, _ = features_of(request_of_four)
    assert list(user.item_ids) == ["boot", "lamp", "boot", "lamp"]
    assert user.types.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(user.numbers, np.stack([FROZEN_EVENTS[name] for name in EVENT_NUMBERS], 1), rtol=1e-6)
    np.testing.assert_allclose(user.long_term, [0.61287874, 0.7873755, 0.06647997], rtol=1e-6)
    np.testing.assert_allclose(user.context, [FROZEN_CONTEXT[name] for name in CONTEXT], rtol=1e-6)


def test_each_file_of_the_folder_is_a_feature() -> None:
    """Each feature has the name of its file, and the columns are in the order of the names."""
    files = sorted(file.stem for path in folder.__path__ for file in Path(path).glob("[!_]*.py"))
    assert list(CANDIDATE_FEATURES) == files == sorted(FROZEN)


def test_a_part_of_a_request(request_of_four: RankingRequest) -> None:
    """Features of a subset of candidates equal their features among all candidates."""
    _, part = features_of(request_of_four.take([1, 2, 3]).take([0, 1]))
    _, whole = features_of(request_of_four)
    np.testing.assert_allclose(part.numbers, whole.numbers[1:3], rtol=1e-6)
