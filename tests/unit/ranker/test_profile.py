"""A profile is a pure function of the user history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.features.price_affinity import price_affinity
from services.ranker.domain.interests import interests
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_history import LASTING, UserHistory, event_weight, lasting_weights
from services.ranker.domain.weighted_sum import weighted_sum
from services.ranker.domain.weights import Weights
from tests.unit.ranker.histories import NOW_S, entry, features, user_history

WEIGHTS = Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5)
BOOT, LAMP = features("boot", 1, 0, 0), features("lamp", 0, 1, 0)
MONTH_S = 30 * 86_400.0


def weights_of(*history: HistoryEntry) -> dict[str, float]:
    profile = build_profile(user_history(*history), "m@1", 3, NOW_S)
    return dict(zip(profile.item_ids, profile.weights.tolist(), strict=True))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(EventType), st.integers(0, 10**6)), max_size=12))
def test_order_does_not_matter(drawn: list[tuple[str, EventType, int]]) -> None:
    """Late and out-of-order events give the same profile as ordered events, bit by bit."""
    items = {name: features(name, 1.0, index) for index, name in enumerate("abcd")}
    history = [entry(items[name], kind, age, str(n)) for n, (name, kind, age) in enumerate(drawn)]
    one = build_profile(user_history(*history), "m@1", 2, NOW_S)
    other = build_profile(user_history(*history[::-1]), "m@1", 2, NOW_S)
    assert one.item_ids == other.item_ids
    assert one.weights.tobytes() == other.weights.tobytes()
    assert interests(one).vectors.tobytes() == interests(other).vectors.tobytes()
    assert (one.price, one.prices) == (other.price, other.prices)


def test_new_events_outweigh_old_ones() -> None:
    """A click of this minute outweighs twenty clicks of last month, which still count."""
    then = [entry(LAMP, age_s=MONTH_S, event_id=f"old{n}") for n in range(20)]
    weights = weights_of(entry(BOOT), *then)
    assert weights["boot"] > 2 * weights["lamp"] > 0


def test_the_newest_events_count_most() -> None:
    """Within one minute, two clicks on a new item outweigh the three clicks before them."""
    events = [
        entry(item, age_s=age, event_id=str(age)) for item, age in ((LAMP, 50), (LAMP, 40), (LAMP, 30), (BOOT, 20))
    ]
    weights = weights_of(*events, entry(BOOT, age_s=10))
    assert weights["boot"] > weights["lamp"]


def test_a_lasting_interest_returns() -> None:
    """An interest of several months leads again half a day after a short new interest."""
    always = [entry(LAMP, EventType.PURCHASE, MONTH_S + n, f"old{n}") for n in range(10)]
    sudden = [entry(BOOT, age_s=43_200 + n, event_id=f"sudden{n}") for n in range(2)]
    weights = weights_of(*always, *sudden)
    assert weights["lamp"] > weights["boot"]


def test_a_purchase_weighs_more_than_a_click() -> None:
    """A purchase outweighs a cart, a cart a click; a short view weighs little; a removal is negative."""
    kinds = (EventType.PURCHASE, EventType.CART, EventType.CLICK, EventType.DWELL, EventType.SEARCH, EventType.REMOVE)
    weights = [event_weight(kind, 6_000) for kind in kinds]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 0 == weights[-2]


def test_a_removal_has_a_negative_weight() -> None:
    """An item that was only removed from the cart has a negative weight."""
    assert weights_of(entry(BOOT, EventType.REMOVE), entry(LAMP))["boot"] < 0


def test_the_sample_represents_all_events() -> None:
    """The weights of a sample of thousands of events sum to about those of all; none is below its own weight."""
    events = [entry((BOOT, LAMP)[n % 4 == 0], age_s=n * 3_600.0, event_id=f"e{n}") for n in range(3_000)]
    sample = user_history(*events).lasting
    assert len(sample) == LASTING
    estimates = lasting_weights(UserHistory(lasting=sample), NOW_S)
    truth = sum(0.5 ** (n * 3_600 / (45 * 86_400)) for n in range(3_000))
    # Priority sampling of k: a relative standard deviation of at most 1/sqrt(k - 1), here 0.13.
    assert sum(estimates) == pytest.approx(truth, rel=0.35)
    lamps = sum(weight for event, weight in zip(sample, estimates, strict=True) if event.item_id == "lamp")
    assert 0.1 < lamps / sum(estimates) < 0.4


def test_vectors_of_another_model_are_skipped() -> None:
    """Vectors of different model versions are never compared."""
    assert build_profile(user_history(entry(features("a"))), "m@2", 3, NOW_S).size == 0


def test_different_kinds_are_separate_interests() -> None:
    """Two kinds of items give two interests, the stronger one first; shares sum to 1, and items are named."""
    history = [entry(features("a", 1, 0, 0)), entry(features("b", 1, 0.1, 0)), entry(features("c", 0, 0, 1), age_s=99)]
    found = interests(build_profile(user_history(*history), "m@1", 3, NOW_S))
    assert found.vectors.shape == (2, 3)
    assert found.vectors[0, 0] > 0.9
    assert float(found.shares.sum()) == pytest.approx(1)
    assert [set(ids) for ids in found.item_ids] == [{"a", "b"}, {"c"}]


def test_prices_by_category() -> None:
    """The usual price is that of the item's category; for a category new to the user, that of all categories."""
    cheap, dear = features("sock", price=10), features("sofa", 0, 1, 0, price=1_000, category="Sofas")
    profile = build_profile(user_history(entry(cheap), entry(dear)), "m@1", 3, NOW_S)
    offered = [features(str(n), price=10, category=category) for n, category in enumerate(("Shoes", "Sofas", "New"))]
    shoes, sofas, new, _ = price_affinity(request_for(*offered, history=[entry(cheap), entry(dear)]))
    assert shoes == pytest.approx(1)
    assert sofas < 0.01
    assert sofas < new < shoes
    assert set(profile.prices) == {"Shoes", "Sofas"}


def test_shown_without_a_click() -> None:
    """Impressions are counted from the last interaction with the item on."""
    seen = [("boot", NOW_S - 5), ("lamp", NOW_S - 5), ("boot", NOW_S - 20)]
    profile = build_profile(user_history(entry(BOOT, age_s=10), shown=seen), "m@1", 3, NOW_S)
    assert profile.shown_without_click == {"boot": 1, "lamp": 1}


def test_what_is_shown_changes_no_interest() -> None:
    """A history that shows other items counts these, and has the same items, weights and prices."""
    history = user_history(entry(BOOT, age_s=10), entry(LAMP, age_s=20))
    before = build_profile(history, "m@1", 3, NOW_S)
    for shown in ([("lamp", NOW_S - 5)], [("lamp", NOW_S - 5), ("boot", NOW_S - 4)], []):
        history = history.showing(shown)
        profile = build_profile(history, "m@1", 3, NOW_S)
        assert profile.shown_without_click == dict.fromkeys((item_id for item_id, _ in shown), 1)
        assert (profile.item_ids, profile.price, profile.prices) == (before.item_ids, before.price, before.prices)
        np.testing.assert_array_equal(profile.weights, before.weights)


def request_for(*items: ItemFeatures, history: list[HistoryEntry], stocks: tuple[int, ...] = ()) -> RankingRequest:
    """The items in retrieval order with similar scores, and a last candidate with a far lower score."""
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
        profile=build_profile(user_history(*history), "m@1", 3, NOW_S),
        categories=[item.category for item in items],
        brands=[item.brand for item in items],
    )


def test_without_history_retrieval_leads() -> None:
    """For a user without a history, the order is retrieval's."""
    scores = weighted_sum(request_for(features("a"), features("b", 0, 1, 0), history=[]), WEIGHTS).total
    assert scores[0] > scores[1]


def test_clicks_move_the_order() -> None:
    """Items similar to the clicked items rise."""
    request = request_for(features("a"), features("b", 0, 1, 0), history=[entry(features("c", 0, 1, 0.1))])
    scores = weighted_sum(request, WEIGHTS)
    assert scores.total[1] > scores.total[0]


def test_parts_add_up() -> None:
    """The contributions of an item sum to its score."""
    scores = weighted_sum(request_for(features("a"), features("b"), history=[entry(features("a"))]), WEIGHTS)
    np.testing.assert_allclose(sum(scores.parts.values()), scores.total, rtol=1e-6)


def test_out_of_stock_falls() -> None:
    """An item out of stock has a lower score than the same item in stock."""
    scores = weighted_sum(request_for(features("a"), features("b"), history=[], stocks=(0, 5)), WEIGHTS)
    assert scores.parts[ReasonType.AVAILABILITY][0] < 0 == scores.parts[ReasonType.AVAILABILITY][1]
    assert scores.total[1] > scores.total[0]
