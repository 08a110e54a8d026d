"""What some events of the log change in the documents of the counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from services.ranker.domain.event import Event, EventType, HistoryEntry
from services.ranker.domain.item_counts import documents as texts
from services.ranker.domain.item_counts import followed
from services.ranker.domain.item_counts.followed import Followed
from services.ranker.domain.item_counts.intervals import interval_ended_by, interval_keys
from services.ranker.domain.item_counts.neighbours import Count, changed
from services.ranker.domain.item_counts.pairs import Act, PersonCounts
from services.ranker.domain.item_counts.relations import Change, Relation
from services.ranker.domain.item_counts.trending import BUCKET_S, TYPES, bucket_of, is_new
from services.ranker.domain.refunds import UNDOING
from services.ranker.ports import CountKind, CountStore, Document, ProfileStore

KINDS = {
    Relation.BOUGHT: (CountKind.BOUGHT, CountKind.BOUGHT_TOTAL),
    Relation.VIEWED: (CountKind.VIEWED, CountKind.VIEWED_TOTAL),
    Relation.FOLLOWED: (CountKind.FOLLOWED, CountKind.FOLLOWED_TOTAL),
}
_RELATIONS = {EventType.PURCHASE: Relation.BOUGHT, EventType.CLICK: Relation.VIEWED}


class CountBatch:
    """Reads each document once, and gives all changed ones at the end."""

    def __init__(self, tenant: str, log: ProfileStore, counts: CountStore) -> None:
        self._tenant, self._log, self._counts = tenant, log, counts
        self._persons: dict[str, PersonCounts | None] = {}
        self._purchases: dict[str, Sequence[HistoryEntry]] = {}
        # By person: as it was read.
        self._followed: dict[str, Followed] = {}
        # Of BOUGHT and VIEWED.
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

    def forget(self, persons: Sequence[str]) -> None:
        self._read_persons(persons)
        for person in persons:
            if (known := self._persons[person]) is not None:
                self._changes.extend(known.withdraw())
        self._persons |= dict.fromkeys(persons)

    def documents(self, now_s: float) -> dict[tuple[CountKind, str], Document | None]:
        found: dict[tuple[CountKind, str], Document | None] = {}
        for person, known in self._persons.items():
            document = None if known is None else Document(texts.person_text(known), known.newest_s(now_s))
            found[CountKind.PERSON, person] = document
        changes = [*self._changes, *self._followed_changes()]
        for relation, (kind, total_kind) in KINDS.items():
            own = [change for change in changes if change.pair.relation is relation]
            found |= self._neighbour_documents(kind, [c for c in own if c.pair.first != c.pair.second], now_s)
            found |= self._total_documents(total_kind, [c for c in own if c.pair.first == c.pair.second], now_s)
        found |= self._trend_documents()
        found |= self._interval_documents(now_s)
        return found

    def _read_persons(self, persons: Sequence[str]) -> None:
        stored = self._counts.read(self._tenant, CountKind.PERSON, persons)
        for person in persons:
            self._persons[person] = known = texts.person_of_text(stored.get(person))
            self._followed[person] = known.followed

    def _followed_changes(self) -> Iterator[Change]:
        """From what was read of the persons to what is kept of them now."""
        for person, before in self._followed.items():
            known = self._persons[person]
            yield from followed.changes(before, {} if known is None else known.followed)

    def _count(self, event: Event, owner: str) -> None:
        person = self._persons[owner]
        if person is None:
            return
        if (relation := _RELATIONS.get(event.type)) is not None:
            act = Act(relation, event.item_id, event.occurred_s, event.order_id, event.quantity)
            self._changes.extend(person.add(act))
        if event.type in followed.TYPES:
            person.followed = followed.with_event(person.followed, event.item_id, event.occurred_s)
        if event.type in UNDOING:
            self._changes.extend(person.undo(event.item_id, event.order_id, event.quantity, event.occurred_s))
        if event.type in TYPES and is_new(person, event.item_id, event.occurred_s):
            self._seen.append((event.item_id, event.occurred_s))
        # Most purchases are the first ones of their items: reading the history costs more than all the rest.
        if event.type is EventType.PURCHASE and person.may_have_bought_before(event.item_id):
            if owner not in self._purchases:
                self._purchases[owner] = self._log.user_history(self._tenant, owner).purchases
            purchases = self._purchases[owner]
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
            if pair.relation is not Relation.FOLLOWED:
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
