"""What was known at any moment of the past, read from the log: user histories, popularity, outcomes.

Times are those of the events, not of their recording: an act that reached the log late is thought to have been known.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from services.gateway.domain.tokens import ranking_of
from services.ranker.domain.event import Event, EventType, HistoryEntry, Impressions, ItemFeatures
from services.ranker.domain.popularity import add, decayed, log_mass
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, SHOWN, UserHistory, priority

# What each act says of the showing before it. Whoever buys a thing has opened it.
REACHED = {
    EventType.CLICK: 1,
    EventType.CART: 2,
    EventType.PURCHASE: 3,
}
# When, event id, event, priority among what is always liked.
_Act = tuple[float, str, Event, float | None]
_order = itemgetter(0, 1)


@dataclass
class _Masses:
    """Of one item: times of its acts in order, and the log mass of all up to each."""

    acts: list[tuple[float, float]] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    def add(self, occurred_s: float, mass: float) -> None:
        insort(self.acts, (occurred_s, mass))
        # What stands behind a late act is summed again.
        del self.totals[bisect_left(self.acts, (occurred_s, mass)) :]

    def before(self, moment_s: float) -> float | None:
        for _, mass in self.acts[len(self.totals) :]:
            self.totals.append(add(self.totals[-1] if self.totals else None, mass))
        count = bisect_left(self.acts, (moment_s,))
        return self.totals[count - 1] if count else None


class Histories:
    """Grows with the log; asked about any moment, it answers with what happened before it."""

    def __init__(self) -> None:
        self._acts: defaultdict[str, list[_Act]] = defaultdict(list)
        self._shown: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        self._masses: defaultdict[str, _Masses] = defaultdict(_Masses)
        # (user, item) -> acts on it, and showings of it, in order.
        self._acts_on: defaultdict[tuple[str, str], list[_Act]] = defaultdict(list)
        self._shown_at: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add_event(self, event: Event) -> None:
        if event.type is EventType.IMPRESSION:
            insort(self._shown[event.user_id], (event.occurred_s, event.item_id))
            return
        act = (event.occurred_s, event.event_id, event, priority(event))
        insort(self._acts[event.user_id], act, key=_order)
        if (mass := log_mass(event)) is not None:
            self._masses[event.item_id].add(event.occurred_s, mass)
        if event.type in REACHED:
            insort(self._acts_on[event.user_id, event.item_id], act, key=_order)

    def add_impressions(self, shown: Impressions) -> None:
        if not shown.user_id:
            return
        for item_id in shown.item_ids:
            insort(self._shown[shown.user_id], (shown.shown_s, item_id))
            insort(self._shown_at[shown.user_id, item_id], shown.shown_s)

    def forget(self, user_id: str) -> None:
        """Everything of a user but what counts over all of them."""
        for of_user in (self._acts, self._shown):
            of_user.pop(user_id, None)
        for of_item in (self._acts_on, self._shown_at):
            for key in [key for key in of_item if key[0] == user_id]:
                del of_item[key]

    def user_history(self, user_id: str, moment_s: float, items: Mapping[str, ItemFeatures]) -> UserHistory:
        """As a store would have told them right before `moment_s`."""
        acts, seen = self._acts.get(user_id, []), self._shown.get(user_id, [])
        known: list[_Act] = acts[: bisect_left(acts, (moment_s, ""), key=_order)]
        newest = [event for _, _, event, _ in reversed(known)]
        spoken = ((value, event_id, event) for _, event_id, event, value in known if value is not None)
        lasting = heapq.nlargest(LASTING, spoken, key=itemgetter(0, 1))
        shown = seen[: bisect_left(seen, (moment_s,))][-SHOWN:]
        return UserHistory(
            _entries(newest[:RECENT], items),
            _entries([event for _, _, event in lasting], items),
            _entries([event for event in newest if event.type is EventType.PURCHASE][:PURCHASES], items),
            [(item_id, shown_s) for shown_s, item_id in reversed(shown)],
        )

    def item_ids(self, user_id: str) -> Iterable[str]:
        """Of all that the user ever acted on."""
        return {event.item_id for _, _, event, _ in self._acts.get(user_id, []) if event.item_id}

    def popularity(self, item_ids: Sequence[str], moment_s: float) -> list[float]:
        found = (self._masses.get(item_id) for item_id in item_ids)
        return [0.0 if masses is None else decayed(masses.before(moment_s), moment_s) for masses in found]

    def reached(self, shown: Impressions, item_id: str, window_s: float) -> int:
        """How far the user went with the item after the showing: 0 nowhere, 1 click, 2 cart, 3 purchase.

        An act with a token belongs to the showing that the token names; one without belongs to the last showing of the
        item before it, in the same session where both name one.
        """
        key, furthest = (shown.user_id, item_id), 0
        acts, showings = self._acts_on.get(key, []), self._shown_at.get(key, [])
        for occurred_s, _, event, _ in acts[bisect_left(acts, (shown.shown_s, ""), key=_order) :]:
            if occurred_s > shown.shown_s + window_s:
                break
            named = ranking_of(event.attribution_token) if event.attribution_token else ""
            other_session = event.session_id and shown.session_id and event.session_id != shown.session_id
            # Shown again before the act: it is that showing's.
            later = showings[bisect_left(showings, occurred_s) - 1] > shown.shown_s if showings else False
            if named == shown.ranking_id or not (named or other_session or later):
                furthest = max(furthest, REACHED[event.type])
        return furthest


def _entries(events: Sequence[Event], items: Mapping[str, ItemFeatures]) -> list[HistoryEntry]:
    return [
        HistoryEntry(
            event.item_id, event.session_id, event.type, event.occurred_s, event.dwell_ms, items.get(event.item_id),
            event.event_id, event.query,
        )
        for event in events
    ]  # fmt: skip
