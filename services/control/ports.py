"""What control needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from services.control.domain.changes import Changes, TenantView
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
