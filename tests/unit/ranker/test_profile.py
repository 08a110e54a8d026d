"""A profile is a pure function of the stored events."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.profile import build_profile, event_weight, interests
from services.ranker.domain.ranking import RankingRequest, ReasonType, Weights, most_alike, weighted_sum

NOW_S = 1_000_000.0
WEIGHTS = Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5)


def features(item_id: str, *direction: float, price: float = 10.0) -> ItemFeatures:
    vector = np.array(direction or (1.0, 0.0, 0.0), np.float32)
    return ItemFeatures(item_id, vector / np.linalg.norm(vector), "m@1", price, "Shoes", "B")


def entry(item: ItemFeatures, kind: EventType = EventType.CLICK, age_s: float = 0.0) -> HistoryEntry:
    return HistoryEntry(item.item_id, "", kind, NOW_S - age_s, 0, item)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(EventType), st.integers(0, 10**6)), max_size=12))
def test_order_does_not_matter(acts: list[tuple[str, EventType, int]]) -> None:
    """Late and out-of-order events give the same profile as ordered ones."""
    items = {name: features(name, 1.0, index) for index, name in enumerate("abcd")}
    history = [entry(items[name], kind, age) for name, kind, age in acts]
    one = build_profile(history, "m@1", 3, NOW_S)
    other = build_profile(history[::-1], "m@1", 3, NOW_S)
    assert one.item_ids == other.item_ids
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-5, atol=1e-6)
    assert one.purchased_item_ids == other.purchased_item_ids


def test_now_outweighs_then() -> None:
    """A click of this minute says more than one of yesterday, which is not forgotten either."""
    now, yesterday = (event_weight(entry(features("a"), age_s=age), NOW_S) for age in (0, 86_400))
    assert now > 4 * yesterday > 0


def test_purchase_says_more_than_click() -> None:
    """At the same age a purchase weighs more than a cart, a cart more than a click; removing speaks against."""
    kinds = (EventType.PURCHASE, EventType.CART, EventType.CLICK, EventType.REMOVE)
    weights = [event_weight(entry(features("a"), kind), NOW_S) for kind in kinds]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 0


def test_vectors_of_another_model_are_left_out() -> None:
    """Vectors of different model versions are never compared."""
    assert build_profile([entry(features("a"))], "m@2", 3, NOW_S).size == 0


def test_interests_keep_apart_what_is_different() -> None:
    """Two kinds of items make two interests, the stronger one first, and their weights add up to 1."""
    history = [entry(features("a", 1, 0, 0)), entry(features("b", 1, 0.1, 0)), entry(features("c", 0, 0, 1))]
    vectors, weights = interests(build_profile(history, "m@1", 3, NOW_S))
    assert vectors.shape == (2, 3)
    assert vectors[0, 0] > 0.9
    assert float(weights.sum()) == np.float32(1.0)


def request_for(*items: ItemFeatures, history: list[HistoryEntry], stocks: tuple[int, ...] = ()) -> RankingRequest:
    """The items in retrieval order, close together, and a last candidate far behind."""
    items = (*items, features("far", -1.0, 0.0, 0.0))
    count = len(items)
    return RankingRequest(
        item_ids=[item.item_id for item in items],
        retrieval_scores=np.array([*np.linspace(1, 0.8, count - 1), 0.0], np.float32),
        vectors=np.stack([item.vector for item in items if item.vector is not None]),
        prices=np.array([item.price for item in items], np.float32),
        stocks=np.array([*stocks, 5] if stocks else [5] * count, np.float32),
        popularity=np.zeros(count, np.float32),
        query=None,
        profile=build_profile(history, "m@1", 3, NOW_S),
    )


def test_without_history_retrieval_leads() -> None:
    """For a user of whom nothing is known, the order is retrieval's."""
    scores = weighted_sum(request_for(features("a"), features("b", 0, 1, 0), history=[]), WEIGHTS).total
    assert scores[0] > scores[1]


def test_clicks_move_the_order() -> None:
    """What is like the clicked items rises, and the reason names them."""
    request = request_for(features("a"), features("b", 0, 1, 0), history=[entry(features("c", 0, 1, 0.1))])
    scores = weighted_sum(request, WEIGHTS)
    assert scores.total[1] > scores.total[0]
    assert most_alike(request.vectors[1], request.profile) == ["c"]


def test_parts_add_up() -> None:
    """The contributions of an item add up to its score."""
    scores = weighted_sum(request_for(features("a"), features("b"), history=[entry(features("a"))]), WEIGHTS)
    np.testing.assert_allclose(sum(scores.parts.values()), scores.total, rtol=1e-6)


def test_out_of_stock_falls() -> None:
    """An item that is out of stock scores less than the same one in stock."""
    scores = weighted_sum(request_for(features("a"), features("b"), history=[], stocks=(0, 5)), WEIGHTS)
    assert scores.parts[ReasonType.AVAILABILITY][0] < 0 == scores.parts[ReasonType.AVAILABILITY][1]
    assert scores.total[1] > scores.total[0]
