"""The popularity of all items and groups in memory: a search asks for 200, and few have changed since the last one."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from services.ranker.adapters.sqlite_consumers import MOST_MARKS, marks

_NEWEST = "SELECT seq FROM sqlite_sequence WHERE name = 'event'"
_ALL = "SELECT item_id, log_mass FROM popularity WHERE tenant = ? LIMIT ?"
# Also of keys that have lost all popularity since: NULL.
_CHANGED = """
SELECT changed.key, p.log_mass FROM (
    SELECT DISTINCT CASE COALESCE(i.group_id, '') WHEN '' THEN e.item_id ELSE i.group_id END AS key FROM event e
    LEFT JOIN item i ON i.tenant = e.tenant AND i.item_id = e.item_id WHERE e.tenant = ?1 AND e.position > ?2) changed
LEFT JOIN popularity p ON p.tenant = ?1 AND p.item_id = changed.key
"""


class PopularityInMemory:
    """Each tenant's log masses, read once, and kept up with the log of events, whichever process writes it.

    Every change of a popularity comes with an event, whose position is higher than all earlier ones. Two things are
    seen late, when the next event on the item comes: what a merge of persons takes back, and an event that another
    process has recorded and, with its person, deleted again between two calls. `most_items` is the bound of all tenants
    together, by default some 20 MB: the tenants that were asked for least lately leave first, and one that is larger by
    itself is read from the file at each call. For one thread at a time.
    """

    def __init__(self, most_items: int = 100_000) -> None:
        self._most_items = most_items
        # By tenant: the newest position that is counted, and the masses; None for a tenant that is too large.
        self._tenants: OrderedDict[str, tuple[int, dict[str, float | None] | None]] = OrderedDict()

    def log_masses(self, db: sqlite3.Connection, tenant: str, keys: Sequence[str]) -> Mapping[str, float | None]:
        """At least those of `keys` that have one."""
        # Read first: what is recorded after it is read again at the next call.
        (newest,) = db.execute(_NEWEST).fetchone() or (0,)
        position, known = self._tenants.get(tenant, (-1, {}))
        if position == newest or known is None:
            self._tenants.move_to_end(tenant)
            return _of(db, tenant, keys) if known is None else known
        if position < 0:
            known = dict(db.execute(_ALL, (tenant, self._most_items + 1)).fetchall())
        else:
            known |= db.execute(_CHANGED, (tenant, position)).fetchall()
        is_too_large = len(known) > self._most_items
        self._tenants[tenant] = (newest, None if is_too_large else known)
        self._tenants.move_to_end(tenant)
        while self._held() > self._most_items:
            self._tenants.popitem(last=False)
        return _of(db, tenant, keys) if is_too_large else known

    def _held(self) -> int:
        """A tenant without items takes room too."""
        return sum(1 + len(masses or ()) for _, masses in self._tenants.values())


def _of(db: sqlite3.Connection, tenant: str, keys: Sequence[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for some in (keys[at : at + MOST_MARKS] for at in range(0, len(keys), MOST_MARKS)):
        query = f"SELECT item_id, log_mass FROM popularity WHERE tenant = ? AND item_id IN ({marks(some)})"
        found |= db.execute(query, (tenant, *some)).fetchall()
    return found
