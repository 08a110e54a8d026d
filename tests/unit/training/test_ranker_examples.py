"""Examples of the ranker network: the logged features of each page, and what followed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.gateway.domain.tokens import AttributionToken
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import person_key
from tests.unit.ranker.logging_ranker import ranked
from tests.unit.ranker.rankings import made_ranking
from tests.unit.training.ranking_shop import BY_ID, ITEMS, NOW_S, WINDOW_S, shop_log
from training.ranking.examples import Examples
from training.ranking.outcomes import Outcomes
from training.ranking.reading import ExampleReader

USER, VISITOR = person_key("u", ""), person_key("", "v")
ITEM_IDS = ["boot1", "lamp2", "boot3"]
PAGE = Impressions(made_ranking(*ITEM_IDS, ranked_s=NOW_S), (1, 2, 3), NOW_S)
PAGE = replace(PAGE, ranking=replace(PAGE.ranking, session_id=""))


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


def test_a_page_waits_for_its_window(tmp_path: Path) -> None:
    """A page is read when its window is over, in the order of the log."""
    store = shop_log(tmp_path, lists=3)
    reader = ExampleReader(store, window_s=WINDOW_S)
    shown_s = [page.shown_s for _, page in store.impressions_after("default", 0, 9)]
    assert reader.read(shown_s[1] + WINDOW_S - 1).shown_s.tolist() == shown_s[:1]
    assert reader.read(shown_s[1] + WINDOW_S).shown_s.tolist() == shown_s[1:2]
    store.close()


def event(
    item_id: str, after_s: float, session: str = "", token: str = "", kind: EventType = EventType.CLICK,
    visitor: str = "",
) -> Event:  # fmt: skip
    user = "" if visitor else "u"
    return Event(f"{item_id}{after_s}", user, session, item_id, kind, NOW_S + after_s, token, visitor_id=visitor)


def reached(outcomes: Outcomes, page: Impressions, persons: Sequence[str] = (USER,)) -> list[int]:
    return [outcomes.reached(page, persons, item_id, WINDOW_S) for item_id in ITEM_IDS]


def test_the_furthest_event_counts() -> None:
    """A purchase includes cart and click; what happened before the page, or after its window, is no outcome."""
    outcomes = Outcomes()
    outcomes.add_impressions(PAGE)
    outcomes.add_event(event("boot1", 5))
    outcomes.add_event(event("boot1", 9, kind=EventType.PURCHASE))
    outcomes.add_event(event("boot1", 12, kind=EventType.CART))
    outcomes.add_event(event("lamp2", -1))
    outcomes.add_event(event("lamp2", WINDOW_S + 1))
    outcomes.add_event(event("boot3", 3, kind=EventType.DWELL))
    assert reached(outcomes, PAGE) == [3, 0, 0]


def test_an_event_is_an_outcome_of_one_page() -> None:
    """With a token of the ranking it names; without one of the last page with the item in the same session."""
    again = replace(PAGE, ranking=replace(PAGE.ranking, ranking_id="again"), shown_s=NOW_S + 60)
    other = replace(PAGE, ranking=replace(PAGE.ranking, session_id="x"))
    outcomes = Outcomes()
    for page in (PAGE, again):
        outcomes.add_impressions(page)
    outcomes.add_event(event("boot1", 90, token=AttributionToken("r", "m").encode("a key")))
    outcomes.add_event(event("lamp2", 90, kind=EventType.PURCHASE))
    outcomes.add_event(event("boot3", 30, session="y"))
    assert reached(outcomes, PAGE) == [1, 0, 1]
    assert reached(outcomes, again) == [0, 3, 0]
    assert reached(outcomes, other)[2] == 0


def refund(item_id: str, after_s: float, visitor: str = "") -> Event:
    return event(item_id, after_s, kind=EventType.REFUND, visitor=visitor)


def test_an_undone_purchase_is_no_outcome() -> None:
    """What is left is the click or cart there was, also if the refund is of the user and the purchase the visitor's."""
    outcomes = Outcomes()
    outcomes.add_impressions(PAGE)
    outcomes.add_event(refund("boot1", 10**6))
    outcomes.add_event(event("boot1", 5, kind=EventType.CART))
    outcomes.add_event(event("boot1", 9, kind=EventType.PURCHASE))
    outcomes.add_event(event("lamp2", 9, kind=EventType.PURCHASE, visitor="v"))
    outcomes.add_event(refund("lamp2", 10**6))
    assert reached(outcomes, PAGE) == [2, 0, 0]
    assert reached(outcomes, PAGE, (VISITOR,)) == [0, 3, 0]
    assert reached(outcomes, PAGE, (USER, VISITOR)) == [2, 0, 0]


def test_a_person_counts_once_for_an_item_and_day(tmp_path: Path) -> None:
    """The second click on the item that day is no further example; a purchase is, and so is a click of the next day."""
    store, day_s = SqliteProfileStore(tmp_path), 86_400.0
    start = NOW_S - NOW_S % day_s
    for n, (at_s, kind) in enumerate(
        ((10, EventType.CLICK), (1_000, EventType.CLICK), (2_000, EventType.PURCHASE), (day_s, EventType.CLICK))
    ):
        page = ranked(store, BY_ID, ITEM_IDS, f"r{n}", start + at_s, "u")
        store.record_impressions("default", [page], ITEMS)
        acted = Event(f"e{n}", "u", "", "lamp2", kind, start + at_s + 1)
        store.record([Batch("default", [acted], ITEMS)])
    examples = ExampleReader(store, window_s=WINDOW_S).read(NOW_S + 2 * day_s)
    rows = [(examples.page == page).nonzero()[0] for page in range(4)]
    items = [examples.item_ids[examples.item[own]].tolist() for own in rows]
    assert items == [ITEM_IDS, ["boot1", "boot3"], ITEM_IDS, ITEM_IDS]
    assert [examples.click[own].tolist() for own in rows] == [[0, 1, 0], [0, 0], [0, 1, 0], [0, 1, 0]]
    assert examples.positions[rows[1]].tolist() == [1, 3]
    store.close()


def test_outcomes_are_of_one_person() -> None:
    """An event of another person is no outcome; an event of the merged visitor is one."""
    outcomes = Outcomes()
    outcomes.add_impressions(PAGE)
    outcomes.add_event(event("boot1", 5, visitor="v"))
    assert reached(outcomes, PAGE) == [0, 0, 0]
    assert reached(outcomes, PAGE, (USER, VISITOR)) == [1, 0, 0]


def test_a_forgotten_person_has_no_outcomes() -> None:
    """After `forget` the person's events are gone, others' are not."""
    outcomes = Outcomes()
    for visitor in ("", "v"):
        outcomes.add_event(event("boot1", 5, visitor=visitor))
    outcomes.forget([USER])
    assert [reached(outcomes, PAGE, (person,))[0] for person in (USER, VISITOR)] == [0, 1]


def test_a_purchase_after_signing_in(tmp_path: Path) -> None:
    """What a visitor was shown and the user bought, after the merge, is an example with its outcome."""
    store = SqliteProfileStore(tmp_path)
    page = ranked(store, BY_ID, ITEM_IDS, "r", NOW_S, visitor="v")
    store.record_impressions("default", [page], ITEMS)
    reader = ExampleReader(store, window_s=WINDOW_S)
    assert not len(reader.read(NOW_S))
    store.merge("default", "v", "u")
    store.record([Batch("default", [event("lamp2", 9, kind=EventType.PURCHASE)], ITEMS)])
    examples = reader.read(NOW_S + WINDOW_S)
    assert examples.purchase.tolist() == [0, 1, 0]
    assert examples.persons.tolist() == [VISITOR]
    store.close()


def test_pages_without_usable_features_are_skipped(tmp_path: Path) -> None:
    """A page that another stage ordered, one of other features and one of another vector model make no examples."""
    store = SqliteProfileStore(tmp_path)
    good = ranked(store, BY_ID, ITEM_IDS, "good", NOW_S, "u")
    logged = good.ranking.logged
    assert logged is not None
    others = {
        "order": None,
        "version": replace(logged, version=logged.version - 1),
        "model": replace(logged, vector_version="m@0"),
    }
    pages = [replace(good, ranking=replace(good.ranking, ranking_id=id, logged=of)) for id, of in others.items()]
    again = replace(good, ranking=replace(good.ranking, ranking_id="again"))
    store.record_impressions("default", [good, *pages, again], ITEMS)
    reader = ExampleReader(store, window_s=WINDOW_S)
    examples, taken = reader.read_pages(NOW_S + WINDOW_S, 100)
    assert examples.ranking_ids.tolist() == [page.ranking.ranking_id for _, page in taken] == ["good", "again"]
    assert reader.position == 5
    store.close()


def test_examples_taken_apart_and_joined(tmp_path: Path) -> None:
    """Taking pages in any order, joined again, keeps each page's candidates, history and labels together."""
    store = shop_log(tmp_path, lists=12)
    whole = ExampleReader(store, window_s=WINDOW_S).read(NOW_S)
    store.close()
    order = np.array([5, 11, 0, 5])
    made = Examples.joined([whole.take(order[:2]), Examples.none(), whole.take(order[2:])])
    assert made.ranking_ids.tolist() == whole.ranking_ids[order].tolist()
    for place, page_row in enumerate(order):
        mine, theirs = made.page == place, whole.page == page_row
        assert made.item_ids[made.item[mine]].tolist() == whole.item_ids[whole.item[theirs]].tolist()
        np.testing.assert_array_equal(made.click[mine], whole.click[theirs])
        known = made.event_items[place] >= 0
        np.testing.assert_array_equal(known, whole.event_items[page_row] >= 0)
        np.testing.assert_array_equal(
            made.vectors[made.event_items[place][known]], whole.vectors[whole.event_items[page_row][known]]
        )
    with pytest.raises(ValueError, match="no examples to join"):
        Examples.joined([])
