"""The history events that influence an item's score most."""

from __future__ import annotations

import numpy as np
import pytest

from services.ranker.domain.attention import attention
from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.event_shares import Basis, EventShares, influences_on
from services.ranker.domain.influential_events import MOST, InfluentialEvent, influential_events
from services.ranker.domain.profile import build_profile
from tests.unit.ranker.histories import NOW_S, entry, features, user_history

ITEM = np.array([1, 0, 0], np.float32)
TWIN, NEAR, STRANGE = features("twin"), features("near", 1.0, 0.6, 0.0), features("strange", 0.0, 0.0, 1.0)


def influences(*history: HistoryEntry) -> list[InfluentialEvent]:
    remembered = user_history(*history)
    profile = build_profile(remembered, "m@1", 3, NOW_S)
    shares = {Basis.SIMILAR: EventShares(profile.item_ids, attention(ITEM[None], profile))}
    return influential_events(ITEM, influences_on(0, shares, None), profile, remembered)


def test_the_most_similar_event_has_the_most_influence() -> None:
    """Of equally old events the one on the most similar item leads; dissimilar items have no influence."""
    influential = influences(entry(NEAR), entry(TWIN), entry(STRANGE))
    assert [one.entry.item_id for one in influential] == ["twin", "near"]
    assert influential[0].similarity == pytest.approx(1)
    assert sum(one.share for one in influential) == pytest.approx(1)


def test_a_removal_has_a_negative_share() -> None:
    """A removed item has a negative share, and the returned event is the removal, not the earlier click."""
    influential = influences(entry(TWIN, EventType.REMOVE, 10), entry(TWIN, age_s=5_000), entry(NEAR, age_s=20))
    against = next(one for one in influential if one.entry.item_id == "twin")
    assert against.share < 0
    assert against.entry.type is EventType.REMOVE


def test_the_newest_event_of_an_item() -> None:
    """Of several events on one item the newest is returned."""
    assert [one.entry.type for one in influences(entry(TWIN, age_s=100), entry(TWIN, EventType.CART))] == [
        EventType.CART
    ]


def test_at_most_three_events() -> None:
    """At most three events are returned for a history of any length, and none without a history."""
    assert len(influences(*(entry(features(f"t{n}"), age_s=n) for n in range(9)))) == MOST
    assert influences() == []


def test_the_parts_of_the_score_decide() -> None:
    """Shares of a model count as much as its part of the score, and an event names the part that it moves most."""
    remembered = user_history(entry(TWIN), entry(NEAR, age_s=5), entry(STRANGE, age_s=9))
    profile = build_profile(remembered, "m@1", 3, NOW_S)
    shares = {
        Basis.SIMILAR: EventShares(["twin", "near"], np.array([[3, 1]], np.float32)),
        Basis.SHOPPER: EventShares(["strange", "twin"], np.array([[50, -50]], np.float32)),
        Basis.TOGETHER: EventShares(["near"], np.array([[0.01]], np.float32)),
    }
    parts = {Basis.SIMILAR: 0.4, Basis.SHOPPER: 1.0, Basis.TOGETHER: 0.3}
    found = influential_events(ITEM, influences_on(0, shares, parts), profile, remembered)
    assert [(one.entry.item_id, one.basis) for one in found] == [
        ("strange", Basis.SHOPPER), ("near", Basis.TOGETHER), ("twin", Basis.SHOPPER),
    ]  # fmt: skip
    assert [one.share for one in found] == pytest.approx([0.5 / 1.1, 0.4 / 1.1, -0.2 / 1.1])
