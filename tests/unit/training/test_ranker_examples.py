"""Examples of the ranker network: as it was when the list was shown, and what followed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.domain.tokens import AttributionToken
from services.ranker.domain.event import Event, EventType
from tests.unit.training.ranking_shop import ITEMS, NOW_S, VERSION, WINDOW_S, page_of, shop_log
from training.ranking.examples import Examples
from training.ranking.histories import Histories
from training.ranking.reading import ExampleReader, showing

BY_ID = {item.item_id: item for item in ITEMS}
PAGE = page_of(["boot1", "lamp2", "boot3"], "u", "r", NOW_S)
KINDS = st.sampled_from([kind for kind in EventType if kind is not EventType.SEARCH])
ACTS = st.lists(st.tuples(KINDS, st.sampled_from(sorted(BY_ID)), st.integers(-5_000, 5_000)), max_size=12)


def histories(acts: list[tuple[EventType, str, int]], before: int | None = None) -> Histories:
    made = Histories()
    for n, (kind, item_id, after_s) in enumerate(acts):
        if before is None or after_s < before:
            user = "u" if n % 4 else "other"
            made.add_event(Event(f"e{n}", user, "s", item_id, kind, NOW_S + after_s, dwell_ms=n * 999))
    return made


@given(ACTS)
@settings(max_examples=25, deadline=None)
def test_what_came_later_is_not_in_the_features(acts: list[tuple[EventType, str, int]]) -> None:
    """Features are the same whether the log ends right before the list or goes on; the labels know what followed."""
    whole, known = (showing(PAGE, of, BY_ID, VERSION, 4, WINDOW_S) for of in (histories(acts), histories(acts, 0)))
    assert whole is not None
    assert known is not None
    for name in ("vectors", "types", "numbers", "long_term", "query", "context"):
        np.testing.assert_array_equal(getattr(whole.user, name), getattr(known.user, name))
    np.testing.assert_array_equal(whole.candidates.numbers, known.candidates.numbers)
    assert not any(known.reached)
    followed = {
        item_id
        for n, (kind, item_id, after_s) in enumerate(acts)
        if n % 4 and 0 <= after_s <= WINDOW_S and kind in (EventType.CLICK, EventType.CART, EventType.PURCHASE)
    }
    assert {id for id, stage in zip(PAGE.item_ids, whole.reached, strict=True) if stage} == followed & {*PAGE.item_ids}


def test_memories_are_the_store_s(tmp_path: Path) -> None:
    """What a replay of the log remembers of a user, and how popular items are, is what the store tells."""
    store, replay = shop_log(tmp_path), Histories()
    for _, event in store.events_after("default", 0, 9_999):
        replay.add_event(event)
    for _, page in store.impressions_after("default", 0, 9_999):
        replay.add_impressions(page)
    for user in ("u0", "u1", "nobody"):
        told, remembered = store.user_history("default", user), replay.user_history(user, NOW_S, BY_ID)
        for name in ("recent", "lasting", "purchases"):
            assert [e.event_id for e in getattr(told, name)] == [e.event_id for e in getattr(remembered, name)]
        assert list(told.shown) == list(remembered.shown)
    ids = sorted(BY_ID)
    assert replay.popularity(ids, NOW_S) == pytest.approx(store.popularity("default", ids, NOW_S))
    store.close()


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Reading in two steps, or with another reader from a position, gives what reading at once gives."""
    store = shop_log(tmp_path, lists=30)
    whole = ExampleReader(store, window_s=WINDOW_S).read(NOW_S)
    reader = ExampleReader(store, window_s=WINDOW_S)
    first = reader.read(NOW_S, limit=13)
    other = ExampleReader(store, after=reader.position, window_s=WINDOW_S)
    assert not len(reader.read(0))
    for rest in (reader.read(NOW_S), other.read(NOW_S)):
        joined = Examples.joined([first, rest])
        assert joined.ranking_ids.tolist() == whole.ranking_ids.tolist()
        for name in ("numbers", "positions", "click", "cart", "purchase", "event_types", "event_numbers", "long_term"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
        np.testing.assert_array_equal(joined.vectors[joined.item], whole.vectors[whole.item])
        assert joined.item_ids[joined.event_items[9]].tolist() == whole.item_ids[whole.event_items[9]].tolist()
    store.close()


def test_a_list_waits_for_its_window(tmp_path: Path) -> None:
    """A list is given out when nothing can follow it any more, and none that came after it before it."""
    store = shop_log(tmp_path, lists=3)
    reader = ExampleReader(store, window_s=WINDOW_S)
    shown_s = [page.shown_s for _, page in store.impressions_after("default", 0, 9)]
    assert reader.read(shown_s[1] + WINDOW_S - 1).shown_s.tolist() == shown_s[:1]
    assert reader.read(shown_s[1] + WINDOW_S).shown_s.tolist() == shown_s[1:2]
    store.close()


def click(item_id: str, after_s: float, session: str = "", token: str = "", kind: EventType = EventType.CLICK) -> Event:
    return Event(f"{item_id}{after_s}", "u", session, item_id, kind, NOW_S + after_s, token)


def test_an_act_belongs_to_one_showing() -> None:
    """With a token to the list it names; without one to the last showing of the item in the same session."""
    again, other = replace(PAGE, ranking_id="again", shown_s=NOW_S + 60), replace(PAGE, session_id="x")
    log = Histories()
    for page in (PAGE, again):
        log.add_impressions(page)
    log.add_event(click("boot1", 90, token=AttributionToken("r", "m").encode("a key")))
    log.add_event(click("lamp2", 90, kind=EventType.PURCHASE))
    log.add_event(click("boot3", 30, session="y"))

    def reached(page: object) -> list[int]:
        return [log.reached(page, item_id, WINDOW_S) for item_id in PAGE.item_ids]  # type: ignore[arg-type]

    assert reached(PAGE) == [1, 0, 1]
    assert reached(again) == [0, 3, 0]
    assert reached(other)[2] == 0


def test_examples_taken_apart_and_joined(tmp_path: Path) -> None:
    """Taking showings in any order, joined again, keeps each list's candidates, history and labels together."""
    store = shop_log(tmp_path, lists=12)
    whole = ExampleReader(store, window_s=WINDOW_S).read(NOW_S)
    store.close()
    order = np.array([5, 11, 0, 5])
    made = Examples.joined([whole.take(order[:2]), Examples.none(), whole.take(order[2:])])
    assert made.ranking_ids.tolist() == whole.ranking_ids[order].tolist()
    for place, showing_row in enumerate(order):
        mine, theirs = made.showing == place, whole.showing == showing_row
        assert made.item_ids[made.item[mine]].tolist() == whole.item_ids[whole.item[theirs]].tolist()
        np.testing.assert_array_equal(made.click[mine], whole.click[theirs])
        known = made.event_items[place] >= 0
        np.testing.assert_array_equal(known, whole.event_items[showing_row] >= 0)
        np.testing.assert_array_equal(
            made.vectors[made.event_items[place][known]], whole.vectors[whole.event_items[showing_row][known]]
        )
    with pytest.raises(ValueError, match="no examples to join"):
        Examples.joined([])
