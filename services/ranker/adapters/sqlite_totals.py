"""The totals over all persons in the SQLite file: popularity, buyers, and what refunds take back from both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.common.refunds import undone
from services.ranker.adapters.sqlite_consumers import MOST_MARKS, marks
from services.ranker.adapters.sqlite_retention import SqliteRetention
from services.ranker.domain.event import Event, EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.popularity import SHARES, log_mass_of, moved, popularity_key
from services.ranker.domain.refunds import REFUNDS
from services.ranker.domain.repurchase import BoughtDay, day_of, purchase_counts
from services.ranker.domain.user_history import PURCHASES, RECENT

ENTRY = (
    "item_id, session_id, type, occurred_s, dwell_ms, event_id, query, price, order_id, quantity "
    "FROM event WHERE tenant = ? AND person = ?"
)
# Its place in the columns of ENTRY.
EVENT_ID = 5
_NEWEST = "ORDER BY occurred_s DESC, event_id DESC"
# By the partial index of the same name.
RECENT_EVENTS = (
    f"SELECT {ENTRY} AND type <> 'impression' AND type NOT IN ('refund', 'cancellation', 'feedback') "
    f"{_NEWEST} LIMIT {RECENT}"
)
PURCHASE_EVENTS = f"SELECT {ENTRY} AND type = 'purchase' {_NEWEST} LIMIT {PURCHASES}"
REFUND_EVENTS = f"SELECT {ENTRY} AND type IN ('refund', 'cancellation') {_NEWEST} LIMIT {REFUNDS}"
_POPULARITY = "SELECT log_mass FROM popularity WHERE tenant = ? AND item_id = ?"
_VARIANT = "SELECT log_mass FROM variant_popularity WHERE tenant = ? AND group_id = ? AND item_id = ?"
_SHARE = "SELECT log_mass FROM popularity_share WHERE tenant = ? AND person = ? AND item_id = ?"
_LIMIT_SHARES = (
    "DELETE FROM popularity_share WHERE tenant = ?1 AND person = ?2 AND item_id IN (SELECT item_id FROM "
    "popularity_share WHERE tenant = ?1 AND person = ?2 ORDER BY log_mass DESC, item_id DESC "
    f"LIMIT -1 OFFSET {SHARES})"
)
_NOBODY = (0, 0)
_COUNT = """
INSERT INTO rebuy VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET buyers = buyers + excluded.buyers, again = again + excluded.again
"""
# Looking a type up is faster than making it, and a history has hundreds.
_TYPES = {kind.value: kind for kind in EventType}


class SqliteTotals(SqliteRetention):
    """All methods run inside the transaction of their caller."""

    def _undone(self, tenant: str, person: str) -> frozenset[str]:
        """The ids of the person's purchases that are undone."""
        if not (refunds := self._entries(REFUND_EVENTS, tenant, person)):
            return frozenset()
        return undone(self._entries(PURCHASE_EVENTS, tenant, person), refunds)

    def _settle(self, tenant: str, person: str, before: frozenset[str], new: str = "") -> frozenset[str]:
        """Counts purchases that are no longer undone, and takes back those that are undone now.

        `before` are the ids that were undone, `new` is that of an event that is not counted yet. Returns those that are
        undone now.
        """
        after = self._undone(tenant, person)
        if after in (before, before | {new}):
            return after
        purchases = self._entries(PURCHASE_EVENTS, tenant, person)
        left = [purchase for purchase in purchases if purchase.event_id not in after]
        changed = [each for each in purchases if each.event_id in (before ^ after) - {new}]
        for purchase in changed:
            if purchase.event_id in after:
                self._lower_popularity(tenant, person, purchase, left, after)
            else:
                key = self._keys(tenant, [purchase.item_id])[purchase.item_id]
                self._count_popularity(tenant, person, purchase, key)
        for item_id, day in sorted({(each.item_id, day_of(each.occurred_s)) for each in changed}):
            same = [each.event_id for each in left if (each.item_id, day_of(each.occurred_s)) == (item_id, day)]
            self._set_day(tenant, person, item_id, day, same)
        return after

    def _count_purchase(
        self, tenant: str, person: str, purchase: Event, key: str, position: int, category: str
    ) -> None:
        """Of a purchase that is not undone."""
        self._count_popularity(tenant, person, purchase, key)
        row = (tenant, person, purchase.item_id, day_of(purchase.occurred_s), position, category)
        before = self._bought(tenant, person, purchase.item_id)
        if self._db.execute("INSERT OR IGNORE INTO bought VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
            self._recount(tenant, before, self._bought(tenant, person, purchase.item_id))

    def _count_popularity(self, tenant: str, person: str, entry: Event | HistoryEntry, key: str) -> None:
        """`key` is that of the popularity of the entry's item."""
        mass = log_mass_of(entry.type, entry.item_id, entry.occurred_s)
        if mass is None:
            return
        share = self._log_mass(_SHARE, tenant, person, key)
        if share is not None and share >= mass:
            return
        self._db.execute("INSERT OR REPLACE INTO popularity_share VALUES (?, ?, ?, ?)", (tenant, person, key, mass))
        if share is None:
            self._db.execute(_LIMIT_SHARES, (tenant, person))
        self._move(tenant, key, entry.item_id, share, mass)

    def _join_groups(self, tenant: str, items: Iterable[ItemFeatures]) -> None:
        """Popularity that was kept by item before the item's group was known becomes the group's."""
        group_of = {item.item_id: item.group_id for item in items if item.group_id not in ("", item.item_id)}
        some = tuple(group_of)
        query = f"SELECT item_id, log_mass FROM popularity WHERE tenant = ? AND item_id IN ({marks(some)})"
        for item_id, mass in self._db.execute(query, (tenant, *some)).fetchall() if some else ():
            self._db.execute("DELETE FROM popularity WHERE tenant = ? AND item_id = ?", (tenant, item_id))
            self._move(tenant, group_of[item_id], item_id, None, mass)

    def _set_day(self, tenant: str, person: str, item_id: str, day: int, event_ids: Sequence[str]) -> None:
        """The day is one of the first recorded of these purchases; without any it is no day of a purchase."""
        before = self._bought(tenant, person, item_id)
        row = (tenant, person, item_id, day)
        self._db.execute("DELETE FROM bought WHERE tenant = ? AND person = ? AND item_id = ? AND day = ?", row)
        query = f"SELECT MIN(position), category FROM event WHERE tenant = ? AND event_id IN ({marks(event_ids)})"
        position, category = self._db.execute(query, (tenant, *event_ids)).fetchone()
        if position is not None:
            self._db.execute("INSERT INTO bought VALUES (?, ?, ?, ?, ?, ?)", (*row, position, category))
        self._recount(tenant, before, self._bought(tenant, person, item_id))

    def _lower_popularity(
        self, tenant: str, person: str, purchase: HistoryEntry, left: Sequence[HistoryEntry], gone: frozenset[str]
    ) -> None:
        """The person's share falls to the heaviest event that is left, of the newest ones on the item or its group."""
        mass = log_mass_of(EventType.PURCHASE, purchase.item_id, purchase.occurred_s)
        recent = [e for e in self._entries(RECENT_EVENTS, tenant, person) if e.event_id not in gone]
        keys = self._keys(tenant, {entry.item_id for entry in (purchase, *recent, *left)})
        key = keys[purchase.item_id]
        share = self._log_mass(_SHARE, tenant, person, key)
        if mass is None or share is None or share > mass:
            # Beyond the shares that are kept, or the share is of a heavier event.
            return
        others = [each for each in (*recent, *left) if keys[each.item_id] == key]
        masses = [log_mass_of(each.type, each.item_id, each.occurred_s) for each in others]
        rest = max((each for each in masses if each is not None), default=None)
        if rest is not None and rest >= share:
            return
        if rest is None:
            query = "DELETE FROM popularity_share WHERE tenant = ? AND person = ? AND item_id = ?"
            self._db.execute(query, (tenant, person, key))
        else:
            query = "INSERT OR REPLACE INTO popularity_share VALUES (?, ?, ?, ?)"
            self._db.execute(query, (tenant, person, key, rest))
        self._move(tenant, key, purchase.item_id, share, rest)

    def _move(self, tenant: str, key: str, item_id: str, share: float | None, new: float | None) -> None:
        """A person's share of `key` moves by an event on the item."""
        total = moved(self._log_mass(_POPULARITY, tenant, key), share, new)
        if total is None:
            self._db.execute("DELETE FROM popularity WHERE tenant = ? AND item_id = ?", (tenant, key))
        else:
            self._db.execute("INSERT OR REPLACE INTO popularity VALUES (?, ?, ?)", (tenant, key, total))
        if key == item_id and not self._has_variants(tenant, key):
            return
        own = moved(self._log_mass(_VARIANT, tenant, key, item_id), share, new)
        if own is None:
            query = "DELETE FROM variant_popularity WHERE tenant = ? AND group_id = ? AND item_id = ?"
            self._db.execute(query, (tenant, key, item_id))
        else:
            query = "INSERT OR REPLACE INTO variant_popularity VALUES (?, ?, ?, ?)"
            self._db.execute(query, (tenant, key, item_id, own))

    def _has_variants(self, tenant: str, key: str) -> bool:
        query = "SELECT 1 FROM variant_popularity WHERE tenant = ? AND group_id = ? LIMIT 1"
        return self._db.execute(query, (tenant, key)).fetchone() is not None

    def _keys(self, tenant: str, item_ids: Iterable[str]) -> Mapping[str, str]:
        """The key of each item's popularity."""
        wanted, groups = list(item_ids), dict[str, str]()
        for some in (wanted[at : at + MOST_MARKS] for at in range(0, len(wanted), MOST_MARKS)):
            query = f"SELECT item_id, group_id FROM item WHERE tenant = ? AND item_id IN ({marks(some)})"
            groups |= dict(self._db.execute(query, (tenant, *some)))
        return {item_id: popularity_key(item_id, groups.get(item_id, "")) for item_id in wanted}

    def _log_mass(self, query: str, *values: str) -> float | None:
        row = self._db.execute(query, values).fetchone()
        return None if row is None else float(row[0])

    def _bought(self, tenant: str, person: str, item_id: str = "") -> list[BoughtDay]:
        """The person's days of purchases, of one item if `item_id` is set."""
        query = "SELECT item_id, day, position, category FROM bought WHERE tenant = ? AND person = ?"
        query, values = (f"{query} AND item_id = ?", (item_id,)) if item_id else (query, ())
        return [BoughtDay(*row) for row in self._db.execute(query, (tenant, person, *values))]

    def _recount(self, tenant: str, before: Iterable[BoughtDay], after: Iterable[BoughtDay]) -> None:
        """The counts of buyers follow the days of one person."""
        old, new = purchase_counts(before), purchase_counts(after)
        changes: dict[str, tuple[int, int]] = {}
        for key in sorted({*old, *new}):
            (buyers_before, again_before), (buyers, again) = old.get(key, _NOBODY), new.get(key, _NOBODY)
            changes[key] = (buyers - buyers_before, again - again_before)
        self._db.executemany(_COUNT, [(tenant, key, *change) for key, change in changes.items() if any(change)])
        fallen = [(tenant, key) for key, change in changes.items() if min(change) < 0]
        self._db.executemany("DELETE FROM rebuy WHERE tenant = ? AND key = ? AND buyers <= 0 AND again <= 0", fallen)

    def _entries(self, query: str, tenant: str, person: str) -> list[HistoryEntry]:
        return [entry_of(row, {}) for row in self._db.execute(query, (tenant, person)).fetchall()]


def entry_of(row: Sequence[Any], items: Mapping[str, ItemFeatures | None]) -> HistoryEntry:
    """The columns of ENTRY, joined with the item as known now."""
    item_id, session, kind, occurred, dwell, event_id, query, price, order_id, quantity = row
    return HistoryEntry(
        item_id, session, _TYPES[kind], occurred, dwell, items.get(item_id), event_id, query,
        math.nan if price is None else price, order_id, quantity,
    )  # fmt: skip
