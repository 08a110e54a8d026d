"""Counts the log of events over all persons, in a thread of its own, off the path of the events.

The position in the log is written together with the counts: after a crash the rest of the log is counted, and nothing
twice. Counts that are lost are made again from the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from services.common.errors import Unavailable
from services.common.periodic import Periodic
from services.ranker.domain.event import Event, EventType
from services.ranker.domain.item_counts import documents as texts
from services.ranker.domain.item_counts.intervals import interval_ended_by, interval_keys
from services.ranker.domain.item_counts.neighbours import COUNTS_S, Count, changed
from services.ranker.domain.item_counts.pairs import PERSON_S, Act, Change, PersonCounts, Relation
from services.ranker.domain.item_counts.trending import BUCKET_S, TREND_S, TYPES, bucket_of, is_new
from services.ranker.domain.refunds import UNDOING
from services.ranker.ports import CountKind, CountStore, Document, LogBound, ProfileStore

# Events of one step.
STEP = 200
# After a step the thread waits twice as long as the step took: the time is for requests.
_PAUSE_FACTOR = 2
_TRIM_EVERY_S = 60.0
# Intervals change rarely, and stay true for long.
_INTERVALS_S = 800 * 86_400.0
# Tries of a write that other replicas overtake.
_TRIES = 5
KINDS = {
    Relation.BOUGHT: (CountKind.BOUGHT, CountKind.BOUGHT_TOTAL),
    Relation.VIEWED: (CountKind.VIEWED, CountKind.VIEWED_TOTAL),
}
_RELATIONS = {EventType.PURCHASE: Relation.BOUGHT, EventType.CLICK: Relation.VIEWED}


class ItemCounter:
    """`items` and `persons` bound the documents of a tenant. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        log: ProfileStore,
        counts: CountStore,
        items: int,
        persons: int,
        interval_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._log, self._counts, self._clock = log, counts, clock
        self._bounds = {kind: LogBound(COUNTS_S, items) for kind in CountKind} | {
            CountKind.PERSON: LogBound(PERSON_S, persons),
            CountKind.TREND: LogBound(TREND_S, items),
            CountKind.INTERVAL: LogBound(_INTERVALS_S, items),
        }
        self._tenants = {"default"}
        self._trimmed_s = clock()
        self._work = Periodic("item-counter", self._turn, interval_s)

    @property
    def failures(self) -> int:
        return self._work.failures

    def follow(self, tenant: str) -> None:
        """From now on the tenant's log is counted."""
        self._tenants.add(tenant)

    def count_some(self, tenant: str) -> bool:
        """Counts the next events of the log. Returns whether there may be more."""
        known = self._counts.progress(tenant)
        found = self._log.events_after(tenant, known.position, STEP)
        if not found:
            return False
        batch = _Batch(tenant, self._log, self._counts)
        batch.count([event for _, event in found])
        # Another replica may have counted them meanwhile: then there is nothing to do but to go on.
        self._counts.write(tenant, known, found[-1][0], batch.documents(self._clock()))
        return True

    def merge(self, tenant: str, visitor: str, user: str) -> None:
        """What both persons have counted counts once from now on."""

        def joined(batch: _Batch) -> None:
            batch.join(visitor, user)

        self._change(tenant, joined)

    def forget(self, tenant: str, persons: Sequence[str]) -> None:
        """Removes what is kept of persons; the counts over all persons stay."""
        self._change(tenant, lambda batch: batch.forget(persons))

    def close(self) -> None:
        self._work.close()

    def _change(self, tenant: str, work: Callable[[_Batch], None]) -> None:
        """Applies a change that is not in the log. Batches that were read before it are refused and read again.

        Raises Unavailable if others were faster each time.
        """
        for _ in range(_TRIES):
            known, batch = self._counts.progress(tenant), _Batch(tenant, self._log, self._counts)
            work(batch)
            if self._counts.write(tenant, known, known.position, batch.documents(self._clock())):
                return
            time.sleep(0.01)  # the others are a step ahead
        raise Unavailable("the ranker's counts are being written by other replicas; try again")

    def _turn(self, stop: threading.Event) -> float | None:
        for tenant in sorted(self._tenants):
            began = time.monotonic()
            while self.count_some(tenant):
                if stop.wait(_PAUSE_FACTOR * (time.monotonic() - began)):
                    return None
                began = time.monotonic()
        now_s = self._clock()
        if now_s - self._trimmed_s >= _TRIM_EVERY_S:
            self._trimmed_s = now_s
            for tenant in sorted(self._tenants):
                for kind, bound in self._bounds.items():
                    self._counts.trim(tenant, kind, bound, now_s)
        return None


class _Batch:
    """What some events change. Reads each document once, and gives all changed ones at the end."""

    def __init__(self, tenant: str, log: ProfileStore, counts: CountStore) -> None:
        self._tenant, self._log, self._counts = tenant, log, counts
        self._persons: dict[str, PersonCounts | None] = {}
        self._changes: list[Change] = []
        self._seen: list[tuple[str, float]] = []
        # By the key of domain.repurchase: days between two purchases.
        self._intervals: list[tuple[str, int]] = []

    def count(self, events: Sequence[Event]) -> None:
        sent = list(dict.fromkeys(event.person for event in events))
        owners = {person: keys[0] for person, keys in self._log.persons(self._tenant, sent).items()}
        self._read_persons(list(dict.fromkeys(owners.values())))
        for event in events:
            if event.item_id:
                self._count(event, owners[event.person])

    def join(self, visitor: str, user: str) -> None:
        self._read_persons([visitor, user])
        from_visitor, to_user = self._persons[visitor], self._persons[user]
        if from_visitor is not None and to_user is not None:
            self._changes.extend(to_user.absorb(from_visitor))
        self._persons[visitor] = None

    def forget(self, persons: Iterable[str]) -> None:
        self._persons |= dict.fromkeys(persons)

    def documents(self, now_s: float) -> dict[tuple[CountKind, str], Document | None]:
        found: dict[tuple[CountKind, str], Document | None] = {}
        for person, known in self._persons.items():
            newest_s = max((act.time_s for act in known.acts), default=now_s) if known is not None else now_s
            document = None if known is None else Document(texts.person_text(known), newest_s)
            found[CountKind.PERSON, person] = document
        for relation, (kind, total_kind) in KINDS.items():
            changes = [change for change in self._changes if change.pair.relation is relation]
            found |= self._neighbour_documents(kind, [c for c in changes if c.pair.first != c.pair.second], now_s)
            found |= self._total_documents(total_kind, [c for c in changes if c.pair.first == c.pair.second], now_s)
        found |= self._trend_documents()
        found |= self._interval_documents(now_s)
        return found

    def _read_persons(self, persons: Sequence[str]) -> None:
        stored = self._counts.read(self._tenant, CountKind.PERSON, persons)
        self._persons |= {person: texts.person_of_text(stored.get(person)) for person in persons}

    def _count(self, event: Event, owner: str) -> None:
        person = self._persons[owner]
        if person is None:
            return
        if (relation := _RELATIONS.get(event.type)) is not None:
            act = Act(relation, event.item_id, event.occurred_s, event.order_id, event.quantity)
            self._changes.extend(person.add(act))
        if event.type in UNDOING:
            self._changes.extend(person.undo(event.item_id, event.order_id, event.quantity, event.occurred_s))
        if event.type in TYPES and is_new(person, event.item_id, event.occurred_s):
            self._seen.append((event.item_id, event.occurred_s))
        if event.type is EventType.PURCHASE:
            purchases = self._log.user_history(self._tenant, owner).purchases
            if days := interval_ended_by(event, purchases):
                features = next((e.features for e in purchases if e.item_id == event.item_id), None)
                category = features.category if features is not None else ""
                self._intervals.extend((key, days) for key in interval_keys(event.item_id, category))

    def _neighbour_documents(
        self, kind: CountKind, changes: Sequence[Change], now_s: float
    ) -> Mapping[tuple[CountKind, str], Document]:
        touched = list(dict.fromkeys(item for change in changes for item in change.pair[1:]))
        stored = self._counts.read(self._tenant, kind, touched)
        known = {item: texts.neighbours_of_text(stored.get(item)) for item in touched}
        for pair, before, after in changes:
            known[pair.first].change(pair.second, before, after)
            known[pair.second].change(pair.first, before, after)
        return {(kind, item): Document(texts.neighbours_text(known[item]), now_s) for item in touched}

    def _total_documents(
        self, kind: CountKind, changes: Sequence[Change], now_s: float
    ) -> Mapping[tuple[CountKind, str], Document | None]:
        touched = list(dict.fromkeys(change.pair.first for change in changes))
        stored = self._counts.read(self._tenant, kind, touched)
        totals: dict[str, Count | None] = {item: texts.count_of_text(text) for item, text in stored.items()}
        for pair, before, after in changes:
            totals[pair.first] = changed(totals.get(pair.first), before, after)
        return {
            (kind, item): None if count is None else Document(texts.count_text(count), now_s)
            for item, count in totals.items()
        }

    def _trend_documents(self) -> Mapping[tuple[CountKind, str], Document]:
        touched = list(dict.fromkeys(item for item, _ in self._seen))
        stored = self._counts.read(self._tenant, CountKind.TREND, touched)
        trends = {item: texts.trend_of_text(stored.get(item)) for item in touched}
        for item, time_s in self._seen:
            trends[item].add(bucket_of(time_s))
        return {
            (CountKind.TREND, item): Document(texts.trend_text(trend), (max(trend.buckets) + 1) * BUCKET_S)
            for item, trend in trends.items()
        }

    def _interval_documents(self, now_s: float) -> Mapping[tuple[CountKind, str], Document]:
        touched = list(dict.fromkeys(key for key, _ in self._intervals))
        stored = self._counts.read(self._tenant, CountKind.INTERVAL, touched)
        intervals = {key: texts.interval_of_text(stored.get(key)) for key in touched}
        for key, days in self._intervals:
            intervals[key] = intervals[key].plus(days)
        return {
            (CountKind.INTERVAL, key): Document(texts.interval_text(interval), now_s)
            for key, interval in intervals.items()
        }
