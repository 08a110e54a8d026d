"""Lists of items without a ranking: related ones, those whose popularity rises, and those of a person's history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from services.common.arrays import FloatArray
from services.common.product import CATEGORY_SEPARATOR
from services.ranker.count_batch import KINDS
from services.ranker.domain.event import EventType
from services.ranker.domain.event_shares import EventShares
from services.ranker.domain.item_counts import documents as texts
from services.ranker.domain.item_counts.intervals import due_items, interval_keys
from services.ranker.domain.item_counts.neighbours import Related, others_of, related
from services.ranker.domain.item_counts.relations import Relation
from services.ranker.domain.item_counts.trending import DAY_S, trending
from services.ranker.domain.user_history import UserHistory
from services.ranker.history_neighbours import HistoryNeighbours
from services.ranker.ports import CountKind, CountStore, ProfileStore

# Neighbours that are looked at, of all items together and of each: a full cart takes no longer than a few products.
_MOST_NEIGHBOURS, _FEWEST_NEIGHBOURS = 1_000, 10
# Items with a person in the last day that are looked at, those with the newest ones.
_MOST_RISING = 5_000
# Within this time a list of rising items is not computed again.
_FRESH_S = 5.0
_VIEWS = frozenset((EventType.CLICK, EventType.DWELL, EventType.CART, EventType.PURCHASE))

Scored = list[tuple[str, float]]


class ItemLists:
    """Persons are keys of `domain.person`. `clock` gives seconds since the epoch."""

    def __init__(self, store: ProfileStore, counts: CountStore, clock: Callable[[], float]) -> None:
        self._store, self._counts, self._clock = store, counts, clock
        self._neighbours = HistoryNeighbours(counts, clock)
        self._lock = threading.Lock()
        # By tenant: when it was computed, and the list.
        self._rising: dict[str, tuple[float, Scored]] = {}

    def related(self, tenant: str, item_ids: Sequence[str], relation: Relation, limit: int) -> list[Related]:
        """Strongest first, without `item_ids`."""
        kind, total_kind = KINDS[relation]
        asked = list(dict.fromkeys(item_ids))
        stored = self._counts.read(tenant, kind, asked)
        most = max(_FEWEST_NEIGHBOURS, _MOST_NEIGHBOURS // len(asked))
        neighbours = {item_id: texts.neighbours_of_text(stored.get(item_id)).strongest(most) for item_id in asked}
        named = [*asked, *others_of(neighbours.values())]
        totals = self._counts.read(tenant, total_kind, list(dict.fromkeys(named)))
        counts = {item_id: texts.count_of_text(text) for item_id, text in totals.items()}
        return related(relation, neighbours, counts, self._clock(), limit)

    def trending(self, tenant: str, category: str, limit: int) -> Scored:
        """(item, rise), fastest first. An empty `category` means the whole shop."""
        rising = self._all_rising(tenant)
        if category:
            items = self._store.items(tenant, [item_id for item_id, _ in rising])
            below = f"{category}{CATEGORY_SEPARATOR}"
            rising = [
                (item_id, rise)
                for item_id, rise in rising
                if item_id in items and f"{items[item_id].category}{CATEGORY_SEPARATOR}".startswith(below)
            ]
        return rising[:limit]

    def recently_viewed(self, tenant: str, person: str, limit: int) -> Scored:
        """(item, seconds since the epoch of the last event), newest first."""
        last: dict[str, float] = {}
        for entry in self._store.user_history(tenant, person).recent:
            if entry.type in _VIEWS and entry.item_id:
                last.setdefault(entry.item_id, entry.occurred_s)
        return list(last.items())[:limit]

    def buy_again(self, tenant: str, person: str, limit: int) -> Scored:
        """(item, share of its interval that has passed), most overdue first."""
        purchases = self._store.user_history(tenant, person).purchases
        keys = sorted(
            {
                key
                for entry in purchases
                for key in interval_keys(entry.item_id, entry.features.category if entry.features else "")
            }
        )
        intervals = self._counts.read(tenant, CountKind.INTERVAL, keys)
        known = {key: texts.interval_of_text(text) for key, text in intervals.items()}
        buyers: Mapping[str, tuple[int, int]] = self._store.rebuys(tenant, keys) if keys else {}
        return due_items(purchases, buyers, known, self._clock())[:limit]

    def neighbours(self, tenant: str, history: UserHistory, limit: int) -> Scored:
        """(item, score) of the neighbours of the person's last items, strongest first, without the person's items."""
        return self._neighbours.strongest(tenant, history, limit)

    def neighbours_of(self, tenant: str, person: str, limit: int) -> Scored:
        """The same for a stored person."""
        return self.neighbours(tenant, self._store.user_history(tenant, person), limit)

    def neighbour_scores(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> FloatArray | None:
        """The scores of `neighbours` [n], 0 for an item that is none; None where nothing is known of the person."""
        return self._neighbours.scores_of(tenant, history, item_ids)

    def neighbour_shares(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> EventShares:
        """What each of the person's last items adds to these scores."""
        return self._neighbours.shares(tenant, history, item_ids)

    def _all_rising(self, tenant: str) -> Scored:
        now_s = self._clock()
        with self._lock:
            computed_s, rising = self._rising.get(tenant, (-_FRESH_S, []))
            if 0 <= now_s - computed_s < _FRESH_S:
                return rising
        stored = self._counts.newest(tenant, CountKind.TREND, now_s - DAY_S, _MOST_RISING)
        rising = trending({item_id: texts.trend_of_text(text) for item_id, text in stored.items()}, now_s)
        with self._lock:
            self._rising[tenant] = now_s, rising
        return rising
