"""The SQLite file as users and visitors see it: whose history a key leads to, attributes, merging and deletion."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from services.common.errors import Conflict
from services.common.user_attributes import Declared
from services.ranker.adapters.sqlite_consumers import MOST_MARKS, marks
from services.ranker.adapters.sqlite_totals import SqliteTotals
from services.ranker.domain.person import is_visitor, person_key
from services.ranker.domain.repurchase import merged_days
from services.ranker.ports import FORGOTTEN_S, MAX_KEPT, OwnedAttribute

# Tables whose rows belong to a person.
_OWNED = ("event", "impressions", "whole_ranking", "bought", "popularity_share", "attribute")
_ATTRIBUTE = "name, texts, number, set_s, expires_s"
_MERGE_SHARES = """
INSERT INTO popularity_share SELECT tenant, ?3, item_id, log_mass FROM popularity_share
WHERE tenant = ?1 AND person = ?2
ON CONFLICT DO UPDATE SET log_mass = max(log_mass, excluded.log_mass)
"""


class SqlitePersons(SqliteTotals):
    def persons(self, tenant: str, persons: Sequence[str]) -> dict[str, tuple[str, ...]]:
        with self._reading_lock:
            owners = self._owners(self._reading, tenant, persons)
            query = "SELECT visitor FROM merged WHERE tenant = ? AND person = ? ORDER BY visitor"
            visitors = {
                owner: [visitor for (visitor,) in self._reading.execute(query, (tenant, owner))]
                for owner in {owners.get(person, person) for person in persons}
            }
        return {person: (owner, *visitors[owner]) for person in persons for owner in [owners.get(person, person)]}

    def merge(self, tenant: str, visitor_id: str, user_id: str) -> tuple[int, int]:
        visitor, user = person_key("", visitor_id), person_key(user_id, "")
        with self._transaction():
            known = self._owners(self._db, tenant, [visitor]).get(visitor)
            if known is not None and known != user:
                raise Conflict(f"visitor {visitor_id} was merged into another user before, and stays there")
            if known is not None:
                return 0, 0
            undone = self._undone(tenant, visitor) | self._undone(tenant, user)
            self._db.execute("INSERT INTO merged VALUES (?, ?, ?, ?)", (tenant, visitor, user, self._clock()))
            self._merge_purchases(tenant, visitor, user)
            self._db.execute(_MERGE_SHARES, (tenant, visitor, user))
            self._db.execute("DELETE FROM popularity_share WHERE tenant = ? AND person = ?", (tenant, visitor))
            events, impressions, _ = (
                self._db.execute(
                    f"UPDATE {table} SET person = ? WHERE tenant = ? AND person = ?", (user, tenant, visitor)
                ).rowcount
                for table in ("event", "impressions", "whole_ranking")
            )
            self._db.execute(
                "DELETE FROM attribute WHERE tenant = ? AND person = ? AND expires_s <= ?",
                (tenant, user, self._clock()),
            )
            # Those that the user has declared too stay behind.
            self._db.execute(
                "UPDATE OR IGNORE attribute SET person = ? WHERE tenant = ? AND person = ?", (user, tenant, visitor)
            )
            self._db.execute("DELETE FROM attribute WHERE tenant = ? AND person = ?", (tenant, visitor))
            self._keep_newest_attributes(tenant, user)
            # The user may have given back what the visitor had bought.
            self._settle(tenant, user, undone)
        return events, impressions

    def delete_person(self, tenant: str, person: str) -> tuple[int, int]:
        now_s = self._clock()
        with self._transaction():
            owner = self._owners(self._db, tenant, [person]).get(person, person)
            visitors = self._db.execute("SELECT visitor FROM merged WHERE tenant = ? AND person = ?", (tenant, owner))
            persons = [owner, *(visitor for (visitor,) in visitors)]
            events, impressions, *_ = (
                self._db.execute(f"DELETE FROM {table} WHERE tenant = ? AND person = ?", (tenant, owner)).rowcount
                for table in _OWNED
            )
            self._db.execute("DELETE FROM merged WHERE tenant = ? AND person = ?", (tenant, owner))
            self._db.execute("DELETE FROM forgotten WHERE until_s <= ?", (now_s,))
            self._db.executemany(
                "INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?, ?)",
                [(tenant, digest_of(each), now_s, now_s + FORGOTTEN_S) for each in persons],
            )
        self._histories.clear()
        # Usually at once. If a long reader is in the way, the keeper tries again until it has worked.
        self.erase()
        return events, impressions

    def set_attributes(
        self, tenant: str, person: str, declared: Sequence[Declared], removed: Sequence[str]
    ) -> list[Declared]:
        with self._transaction():
            owner = self._owners(self._db, tenant, [person]).get(person, person)
            self._db.executemany(
                "DELETE FROM attribute WHERE tenant = ? AND person = ? AND name = ?",
                [(tenant, owner, name) for name in removed],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO attribute VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (tenant, owner, each.name, json.dumps(each.texts), each.number, each.set_s, each.expires_s)
                    for each in declared
                ],
            )
            self._keep_newest_attributes(tenant, owner)
            return self._attributes(self._db, tenant, owner)

    def attributes(self, tenant: str, person: str) -> list[Declared]:
        with self._reading_lock:
            owner = self._owners(self._reading, tenant, [person]).get(person, person)
            return self._attributes(self._reading, tenant, owner)

    def attributes_after(
        self, tenant: str, position: int, limit: int, names: Collection[str]
    ) -> list[tuple[int, OwnedAttribute]]:
        query = (
            f"SELECT position, person, {_ATTRIBUTE} FROM attribute WHERE tenant = ? AND position > ? "
            f"AND expires_s > ? AND name IN ({marks(names)}) ORDER BY position LIMIT ?"
        )
        rows = self._read(query, (tenant, position, self._clock(), *names, limit))
        return [(row[0], OwnedAttribute(row[1], _declared(*row[2:]))) for row in rows]

    def _attributes(self, db: sqlite3.Connection, tenant: str, owner: str) -> list[Declared]:
        query = f"SELECT {_ATTRIBUTE} FROM attribute WHERE tenant = ? AND person = ? AND expires_s > ? ORDER BY name"
        return [_declared(*row) for row in db.execute(query, (tenant, owner, self._clock()))]

    def _keep_newest_attributes(self, tenant: str, owner: str) -> None:
        self._db.execute(
            "DELETE FROM attribute WHERE position IN (SELECT position FROM attribute WHERE tenant = ? AND person = ? "
            "ORDER BY position DESC LIMIT -1 OFFSET ?)",
            (tenant, owner, MAX_KEPT),
        )

    def _merge_purchases(self, tenant: str, visitor: str, user: str) -> None:
        of_visitor, of_user = self._bought(tenant, visitor), self._bought(tenant, user)
        together = merged_days(of_visitor, of_user)
        self._recount(tenant, of_visitor, ())
        self._recount(tenant, of_user, together)
        self._db.execute("DELETE FROM bought WHERE tenant = ? AND person IN (?, ?)", (tenant, visitor, user))
        self._db.executemany(
            "INSERT INTO bought VALUES (?, ?, ?, ?, ?, ?)",
            [(tenant, user, day.item_id, day.day, day.position, day.category) for day in together],
        )

    @staticmethod
    def _owners(db: sqlite3.Connection, tenant: str, persons: Iterable[str]) -> dict[str, str]:
        """Of the visitors among the persons that were merged: the users that they belong to."""
        visitors, found = [person for person in persons if is_visitor(person)], dict[str, str]()
        for some in (visitors[at : at + MOST_MARKS] for at in range(0, len(visitors), MOST_MARKS)):
            query = f"SELECT visitor, person FROM merged WHERE tenant = ? AND visitor IN ({marks(some)})"
            found |= dict(db.execute(query, (tenant, *some)))
        return found

    def _forgotten(self, tenant: str, persons: set[str]) -> dict[str, float]:
        """When each was deleted, of those who were within the last hour; -infinity for all others."""
        digests = {digest_of(person): person for person in persons if person}
        rows = self._db.execute(
            f"SELECT person_digest, deleted_s FROM forgotten WHERE tenant = ? AND until_s > ? "
            f"AND person_digest IN ({marks(digests)})",
            (tenant, self._clock(), *digests),
        )
        deleted = {digests[digest]: deleted_s for digest, deleted_s in rows}
        return {person: deleted.get(person, -np.inf) for person in persons}


def _declared(name: str, texts: str, number: float | None, set_s: float, expires_s: float) -> Declared:
    return Declared(name, tuple(json.loads(texts)), number, set_s, expires_s)


def digest_of(person: str) -> bytes:
    """Not the key itself: the deletion is remembered for a while, the person is not."""
    return hashlib.sha1(person.encode()).digest()
