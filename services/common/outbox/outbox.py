"""The port of the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from kairos.control.v1 import audit_pb2
from services.common.errors import Overloaded

# Bytes of a batch with more than one entry; control accepts 4 MiB in one request.
_BATCH_BYTES = 1 << 20
# A full outbox stays full until control takes entries: callers need not try more often.
_RETRY_S = 30.0


@dataclass(frozen=True)
class EntryBatch:
    """Entries of a tenant. `content` is a serialised RecordEntriesRequest without the tenant: joined contents are again
    one, so that an entry is serialised only once on its way to control.
    """

    tenant: str
    count: int
    content: bytes


@dataclass(frozen=True)
class StoredBatch:
    """A batch in the outbox. `place` is opaque."""

    place: str
    batch: EntryBatch


@dataclass(frozen=True)
class OutboxBounds:
    """What an outbox holds at most: entries, and bytes of their contents."""

    entries: int
    bytes: int


@dataclass(frozen=True)
class OutboxSize:
    """What an outbox holds. `bytes` are those of the contents; `oldest_age_s` is 0 if it is empty."""

    entries: int
    bytes: int
    oldest_age_s: float


class Outbox(Protocol):
    """Entries that wait for control, in the order in which they came. Several processes may share one.

    Methods raise Unavailable if it cannot be reached, and may be called from several threads.
    """

    bounds: OutboxBounds

    def append(self, batches: Sequence[EntryBatch]) -> None:
        """Writes all batches or none. They are durable when this returns. Raises Overloaded if it is full."""

    def oldest(self, most_entries: int, most_bytes: int, after: str = "") -> list[StoredBatch]:
        """The oldest batches behind the place `after`, up to the bounds, but at least one if there is one."""

    def remove(self, batches: Sequence[StoredBatch]) -> None:
        """Those that another process has removed already are ignored."""

    def size(self) -> OutboxSize: ...

    def lease(self) -> AbstractContextManager[bool]:
        """Whether this process may deliver now: mostly one of them may. The lease ends with the context, and soon after
        the process was killed. Redis ends it after LEASE_S.
        """

    def close(self) -> None: ...


LEASE_S = 30.0


def packed(tenant: str, entries: Sequence[audit_pb2.AuditEntry]) -> list[EntryBatch]:
    """The entries as batches that control accepts."""
    content = audit_pb2.RecordEntriesRequest(entries=entries).SerializeToString()
    if len(content) <= _BATCH_BYTES or len(entries) == 1:
        return [EntryBatch(tenant, len(entries), content)]
    middle = len(entries) // 2
    return [*packed(tenant, entries[:middle]), *packed(tenant, entries[middle:])]


def full(bounds: OutboxBounds) -> Overloaded:
    return Overloaded(
        f"the outbox is full ({bounds.entries:,} entries or {bounds.bytes >> 20:,} MiB): control does not take its "
        "entries. Start control or correct its address and key, or raise outbox.most_entries and outbox.most_mib: "
        "docs/how-to/runbook.md#kairosoutboxfull",
        _RETRY_S,
    )


def within(batches: Sequence[StoredBatch], most_entries: int, most_bytes: int) -> list[StoredBatch]:
    """The first batches that together stay in the bounds, at least one."""
    entries = size = 0
    for index, stored in enumerate(batches):
        entries, size = entries + stored.batch.count, size + len(stored.batch.content)
        if index and (entries > most_entries or size > most_bytes):
            return list(batches[:index])
    return list(batches)
