"""The searches of the log: logged pages, imported lists, and searches of which only the clicks are known.

An imported list is a run of events of the type IMPRESSION without an attribution token, which share person, session,
query and time. They were recorded in the order in which the products were shown.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from services.ranker.domain.event import Event, EventType
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.stored_ranking import StoredRanking
from training.ranking.outcomes import REACHED, Outcomes
from training.search.clicks import SearchedList, normalised
from training.suite.log import ReadLog

# The newest lists are read: 200,000 of ten products take about 400 MB.
MOST_LISTS = 200_000
# The newest clicks, carts and purchases, for searches without a list.
_MOST_ACTS = 1_000_000
# Shown products of one search that are read.
_MOST_SHOWN = 100
_PAGES = 1_000
_time = attrgetter("occurred_s")


def searches_of(log: ReadLog, window_s: float) -> list[SearchedList]:
    """In the order of their times. Events in `window_s` after a search are its outcome."""
    outcomes, pages = Outcomes(), _logged(log)
    imported: dict[tuple[str, str, str, float], tuple[Event, list[str]]] = {}
    typed, acted = deque[Event](maxlen=MOST_LISTS), deque[Event](maxlen=_MOST_ACTS)
    for event in log.events():
        outcomes.add_event(event)
        if event.type is EventType.SEARCH and event.query:
            typed.append(event)
        elif event.type is EventType.IMPRESSION and event.query and not event.attribution_token:
            key = (event.person, event.session_id, event.query, event.occurred_s)
            imported.setdefault(key, (event, []))[1].append(event.item_id)
            if len(imported) > MOST_LISTS:
                del imported[next(iter(imported))]
        elif event.type in REACHED:
            acted.append(event)
    pages = (pages + [_page(*of_list) for of_list in imported.values()])[-MOST_LISTS:]
    for page in pages:
        outcomes.add_impressions(page)
    lists = [_list(page, outcomes, window_s) for page in pages]
    lists += _without_lists(typed, acted, pages, window_s)
    return sorted(lists, key=lambda each: each.at_s)[-MOST_LISTS:]


def _logged(log: ReadLog) -> list[Impressions]:
    """Pages with a query and with results, of known persons."""
    position, pages = 0, list[Impressions]()
    while found := log.impressions_after("", position, _PAGES):
        position = found[-1][0]
        # Without the logged features, which take most of the memory.
        pages += [
            replace(page, ranking=replace(page.ranking, logged=None))
            for _, page in found
            if page.ranking.query and page.person and page.positions
        ]
    return pages


def _page(first: Event, item_ids: Sequence[str]) -> Impressions:
    shown = list(dict.fromkeys(item_ids))[:_MOST_SHOWN]
    ranking = StoredRanking(
        f"imported:{first.event_id}", first.user_id, first.visitor_id, first.session_id, first.query, "", shown,
        np.zeros(len(shown), np.float32), np.ones(len(shown), np.float32), len(shown), first.occurred_s,
    )  # fmt: skip
    return Impressions(ranking, tuple(range(1, len(shown) + 1)), first.occurred_s)


def _list(page: Impressions, outcomes: Outcomes, window_s: float) -> SearchedList:
    persons, of = [page.person], page.ranking
    reached = [outcomes.reached(page, persons, item_id, window_s) for item_id in of.item_ids]
    return SearchedList(of.query, of.session_id, page.shown_s, of.item_ids, page.positions, reached)


def _without_lists(
    typed: Iterable[Event], acted: Iterable[Event], pages: Sequence[Impressions], window_s: float
) -> list[SearchedList]:
    """SEARCH events with what was clicked in the same session before its next search.

    A search whose list is known, and a click that names the list that showed the product, are not counted again.
    """
    shown = defaultdict[tuple[str, str], list[float]](list)
    for page in sorted(pages, key=lambda page: page.shown_s):
        shown[page.person, normalised(page.ranking.query)].append(page.shown_s)
    by_session = defaultdict[tuple[str, str], list[Event]](list)
    for event in typed:
        times = shown.get((event.person, normalised(event.query)), [])
        first = bisect_left(times, event.occurred_s - window_s)
        if first == bisect_right(times, event.occurred_s + window_s):
            by_session[event.person, event.session_id].append(event)
    for own in by_session.values():
        own.sort(key=_time)
    reached = defaultdict[str, dict[str, int]](dict)
    for event in acted:
        own = by_session.get((event.person, event.session_id), [])
        at = bisect_right(own, event.occurred_s, key=_time) - 1
        if at >= 0 and not event.attribution_token and event.occurred_s - own[at].occurred_s <= window_s:
            of_search = reached[own[at].event_id]
            of_search[event.item_id] = max(of_search.get(event.item_id, 0), REACHED[event.type])
    return [
        SearchedList(
            event.query, event.session_id, event.occurred_s, list(of_search := reached.get(event.event_id, {})), [],
            list(of_search.values()),
        )
        for own in by_session.values()
        for event in own
    ]  # fmt: skip
