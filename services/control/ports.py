"""What control needs from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from services.control.domain.audit import Entry, EntryFilter, EntryKind, Place
from services.control.domain.bills import Bill, BillFilter, BillPlace
from services.control.domain.changes import Changes, TenantView
from services.control.domain.leases import LeaseCall, Leases
from services.control.domain.resources import Content, Key, Resource, Revision, Snapshot, State


@dataclass(frozen=True)
class Retention:
    """How much of the past is kept: changes of each resource, snapshots and archived resources of each tenant."""

    revisions: int = 200
    snapshots: int = 20
    archived: int = 10_000


@dataclass(frozen=True)
class Listing:
    """Which resources are listed. `state` None: all but archived ones. `kind` and `text` empty: any."""

    kind: str = ""
    state: State | None = None
    text: str = ""


class ControlStore(Protocol):
    """Resources, their history and the snapshots. Each call raises Unavailable while the database cannot be reached.

    After an Unavailable of `change` it is unknown whether the change was made.
    """

    def change(self, tenant: str, decide: Callable[[TenantView], Changes]) -> Changes:
        """Writes what `decide` returns, durably and completely, or nothing if it raises.

        Changes of one tenant are made one after the other, also by several processes.
        """

    def resource(self, tenant: str, key: Key) -> Resource | None: ...

    def resources(self, tenant: str, listing: Listing, after: Key | None, limit: int) -> list[Resource]:
        """By kind and id, from the first one after `after`. The text is looked for in id and content, in any case."""

    def revisions(self, tenant: str, key: Key, before: int | None, limit: int) -> list[Revision]:
        """The newest first; only those with a version below `before`."""

    def versions(self) -> Mapping[str, int]:
        """The version of the newest snapshot of each tenant that has one."""

    def snapshot(self, tenant: str) -> Snapshot | None:
        """The newest one."""

    def tenants(self) -> Mapping[str, Content]:
        """The effective contents of the kind TENANT of all tenants, by tenant."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class AuditBounds:
    """What stays in the database: the entries of the last `online_s` seconds, and of these the newest `online_entries`.
    Of the archived entries the ids of the newest `known_ids` are known.
    """

    online_s: float = 7 * 86_400.0
    online_entries: int = 5_000_000
    known_ids: int = 20_000_000


@dataclass(frozen=True)
class AuditSize:
    """Entries in the database, its bytes on the disk, and those of the archive if it is a folder of this machine."""

    online_entries: int
    online_bytes: int
    archive_bytes: int


class AuditStore(Protocol):
    """Audit entries, each stored once for its tenant, kind and id. None is ever changed; only `archive` removes any.

    Each call raises Unavailable while the database cannot be reached. After an Unavailable of `record` it is unknown
    whether the entries are stored.
    """

    def record(self, tenant: str, entries: Sequence[Entry]) -> int:
        """Stores those that are not stored yet, durably, all or none. Returns how many those are."""

    def entries(self, tenant: str, only: EntryFilter, after: Place | None, limit: int) -> list[Entry]:
        """Entries in the database, by place, the greatest first; only those below `after`."""

    def entry(self, tenant: str, kind: EntryKind, id: str) -> Entry | None: ...

    def archive(self, stop: threading.Event, on_moved: Callable[[int], object]) -> None:
        """Moves what is beyond the bounds to the archive, and calls `on_moved` with numbers of entries that are there.
        Recording goes on. Raises ArchiveFailed and OSError. Of several processes one does the work. When `stop` is set,
        it returns soon.
        """

    def size(self) -> AuditSize: ...

    def close(self) -> None: ...


class ArchiveFailed(Exception):
    """The archive does not have what was written to it; the database keeps it."""


class EntryArchive(Protocol):
    """Files of entries, by name. A name always stands for the same entries: writing them again changes nothing."""

    def write(self, name: str, kind: EntryKind, entries: Iterable[tuple[str, Entry]], count: int) -> None:
        """Writes `count` entries, each with its tenant, durably. Raises ArchiveFailed and OSError."""

    def keep_within_bound(self) -> None:
        """Removes the oldest files if the archive has a bound."""

    def local_bytes(self) -> int:
        """0 for an archive that is not on this machine."""


class BillStore(Protocol):
    """Bills, by tenant, campaign and day. Each call raises Unavailable while the database cannot be reached.

    After an Unavailable of `record` it is unknown whether the bills are stored.
    """

    def record(self, tenant: str, bills: Sequence[Bill], oldest: date, complete_us: int = 0) -> int:
        """Stores the bills, each campaign and day once, durably, all or none; returns how many. With them the time, in
        microseconds since the epoch, up to which all bills are complete, unless a later one is stored. A bill that is
        stored and final stays as it is. Removes those of days before `oldest`. Raises Conflict beyond the bound of a
        day.
        """

    def bills(self, tenant: str, only: BillFilter, after: BillPlace | None, limit: int) -> list[Bill]:
        """By place, from the first one after `after`."""

    def close(self) -> None: ...


class LeaseStore(Protocol):
    """Leases of budgets and the traffic of sponsored, by tenant."""

    def lease(self, tenant: str, call: LeaseCall, now_us: int) -> Leases:
        """Calls of one tenant are served one after the other, also by several processes; each is durable, or changes
        nothing. Raises Unavailable while the database cannot be reached, Aborted for a call that a newer one of the
        replica has overtaken, and Overloaded beyond the bound of replicas.
        """

    def close(self) -> None: ...
