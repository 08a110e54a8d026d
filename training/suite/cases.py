"""Cases that judge a version: what a held-back person did before an event, and the item of the event.

A small share of the persons is held back from the training of every version (training/ranking/split.py): no list of
persons is kept, and a person who was deleted is in no case. The share never grows, so that a person who is held back
now was held back from every earlier version.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.ranker.domain.event import Event, EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.shopper.events import SEQUENCE, read_entries

# Persons that are held back, if there are enough, and the bounds of their share.
_HELD_PERSONS, _LEAST_SHARE, _MOST_SHARE = 100, 0.02, 0.1
# Of one person, and in all.
_OF_PERSON, MOST_CASES = 10, 2_000
IDLE_S = 30 * 86_400.0
TARGETS = (EventType.CLICK, EventType.DWELL, EventType.CART, EventType.PURCHASE)


@dataclass(frozen=True)
class Case:
    """`entries` are the events that the model reads, newest first, all before `at_s`; `known` are the person's items.

    `item_id` is that of the event at `at_s`. `groups` name what the case is an example of.
    """

    person: str
    entries: Sequence[HistoryEntry]
    known: frozenset[str]
    item_id: str
    at_s: float
    groups: tuple[str, ...] = field(default=())


def held_back_share(persons: int) -> float:
    """Of so many persons."""
    return min(_MOST_SHARE, max(_LEAST_SHARE, _HELD_PERSONS / max(persons, 1)))


def cases_of(
    events: Iterable[Event],
    items: Mapping[str, ItemFeatures],
    from_s: float = -math.inf,
    until_s: float = math.inf,
) -> list[Case]:
    """Of events of held-back persons, in any order: an event in [from_s, until_s) on an item that is new to the person.

    Events on other items than `items` are left out. At most the newest ten of a person, and `MOST_CASES` in
    all, chosen by a digest: the same ones each time.
    """
    of_person: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.type is EventType.SEARCH or event.item_id in items:
            of_person[event.person].append(event)
    found: list[Case] = []
    for person, own in of_person.items():
        own.sort(key=lambda event: (event.occurred_s, event.event_id))
        found += _of_person(person, own, items, from_s, until_s)[-_OF_PERSON:]
    found.sort(key=lambda case: _digest(f"case\0{case.person}\0{case.item_id}\0{case.at_s}"))
    return found[:MOST_CASES]


def _of_person(
    person: str, events: Sequence[Event], items: Mapping[str, ItemFeatures], from_s: float, until_s: float
) -> list[Case]:
    cases: list[Case] = []
    known: set[str] = set()
    history: list[HistoryEntry] = []
    language = _language(events)
    for event in events:
        is_target = event.type in TARGETS and event.item_id not in known
        if is_target and history and from_s <= event.occurred_s < until_s:
            # Newest first, as a history is.
            entries = read_entries(history[: -2 * SEQUENCE - 1 : -1])[::-1]
            groups = [f"category {items[event.item_id].category.partition(' > ')[0] or 'none'}"]
            groups += [f"language {language}"] if language else []
            groups += ["idle persons"] if event.occurred_s - history[-1].occurred_s > IDLE_S else []
            if entries:
                cases.append(Case(person, entries, frozenset(known), event.item_id, event.occurred_s, tuple(groups)))
        if event.item_id and event.type is not EventType.IMPRESSION:
            known.add(event.item_id)
        history.append(
            HistoryEntry(
                event.item_id, event.session_id, event.type, event.occurred_s, event.dwell_ms,
                items.get(event.item_id), event.event_id, event.query,
            )
        )  # fmt: skip
    return cases


def _language(events: Sequence[Event]) -> str:
    """Of the person's queries: Chinese if one has a Chinese character, else English; empty without queries."""
    queries = [event.query for event in events if event.query]
    if not queries:
        return ""
    return "zh" if any("\u3400" <= character <= "\u9fff" for query in queries for character in query) else "en"


def _digest(text: str) -> float:
    """Uniform in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64
