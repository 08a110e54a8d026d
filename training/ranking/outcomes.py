"""What followed a page that was shown: clicks, carts and purchases of its items, joined from the log of events.

Times are those of the events, not of their recording: an event that reached the log late is an outcome like others. A
purchase that was undone is no outcome. A person counts once for an item and day: what the person repeats is no further
example.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from services.common.attribution import ranking_of
from services.common.refunds import undone
from services.ranker.domain.event import Event, EventType
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.refunds import UNDOING
from services.ranker.domain.repurchase import day_of

# How far an event says that the person got with the item: a purchase includes cart and click.
REACHED = {
    EventType.CLICK: 1,
    EventType.CART: 2,
    EventType.PURCHASE: 3,
}
# When, event id, event.
_Timed = tuple[float, str, Event]
_order = itemgetter(0, 1)


class Outcomes:
    """Grows with the logs. Persons are keys of services/ranker/domain/person.py, as they were sent."""

    def __init__(self) -> None:
        # (person, item) -> the events on it, and the times at which it was shown, both in order.
        self._events: defaultdict[tuple[str, str], list[_Timed]] = defaultdict(list)
        self._shown: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._refunds: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)

    def add_event(self, event: Event) -> None:
        if event.type in UNDOING:
            self._refunds[event.person, event.item_id].append(event)
        if event.type in REACHED:
            insort(self._events[event.person, event.item_id], (event.occurred_s, event.event_id, event), key=_order)

    def add_impressions(self, page: Impressions) -> None:
        if page.person:
            for item_id in page.ranking.item_ids:
                insort(self._shown[page.person, item_id], page.shown_s)

    def forget(self, persons: Iterable[str]) -> None:
        gone = set(persons)
        for of_item in (self._events, self._shown, self._refunds):
            for key in [key for key in of_item if key[0] in gone]:
                del of_item[key]

    def reached(self, page: Impressions, persons: Sequence[str], item_id: str, window_s: float) -> int:
        """How far the person got with the item after the page: 0 nowhere, 1 click, 2 cart, 3 purchase.

        `persons` are all keys of whom the page was shown to. An event with a token is an outcome of the ranking that
        the token names. One without is an outcome of the last page before it that showed the item, in the same session
        if both name one.
        """
        return max((stage for stage, _ in self._of(page, persons, item_id, window_s)), default=0)

    def is_repeated(self, page: Impressions, persons: Sequence[str], item_id: str, window_s: float) -> bool:
        """Whether the person got somewhere with the item after the page, but no further than before on the same day."""
        found = list(self._of(page, persons, item_id, window_s))
        return bool(found) and all(is_repeated for _, is_repeated in found)

    def _of(
        self, page: Impressions, persons: Sequence[str], item_id: str, window_s: float
    ) -> Iterator[tuple[int, bool]]:
        """(how far it got, whether that is no further than before on its day) of each event that the page led to."""
        keys = [(person, item_id) for person in persons]
        shown = sorted(shown_s for key in keys for shown_s in self._shown.get(key, ()))
        events = sorted((entry for key in keys for entry in self._events.get(key, ())), key=_order)
        gone = self._undone(keys, events)
        furthest: dict[int, int] = {}
        for occurred_s, event_id, event in events:
            if occurred_s > page.shown_s + window_s:
                break
            if event_id in gone:
                continue
            stage, day = REACHED[event.type], day_of(occurred_s)
            before, furthest[day] = furthest.get(day, 0), max(stage, furthest.get(day, 0))
            if occurred_s < page.shown_s:
                continue
            named = ranking_of(event.attribution_token) if event.attribution_token else ""
            session = page.ranking.session_id
            in_other_session = event.session_id and session and event.session_id != session
            # The item was shown again before the event: it is an outcome of the later page.
            was_shown_later = shown[bisect_left(shown, occurred_s) - 1] > page.shown_s if shown else False
            if named == page.ranking.ranking_id or not (named or in_other_session or was_shown_later):
                yield stage, stage <= before

    def _undone(self, keys: Sequence[tuple[str, str]], events: Sequence[_Timed]) -> frozenset[str]:
        if not (refunds := [refund for key in keys for refund in self._refunds.get(key, ())]):
            return frozenset()
        return undone([event for *_, event in events if event.type is EventType.PURCHASE], refunds)
