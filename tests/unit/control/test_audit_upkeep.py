"""The task that archives: what it exports, and that an error does not end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from services.control.audit_upkeep import start_upkeep
from services.control.domain.audit import Entry, EntryFilter, EntryKind, Place
from services.control.metrics import ControlMetrics
from services.control.ports import ArchiveFailed, AuditSize


class Store:
    """Fails in its first turn, and moves three entries in the second one."""

    def __init__(self) -> None:
        self.turns = 0

    def archive(self, stop: threading.Event, on_moved: Callable[[int], object]) -> None:
        self.turns += 1
        if self.turns == 1:
            raise ArchiveFailed("the disk is full")
        if self.turns == 2:
            on_moved(3)

    def size(self) -> AuditSize:
        return AuditSize(7, 700, 70 + self.turns)

    def record(self, tenant: str, entries: Sequence[Entry]) -> int:
        raise NotImplementedError

    def entries(self, tenant: str, only: EntryFilter, after: Place | None, limit: int) -> list[Entry]:
        raise NotImplementedError

    def entry(self, tenant: str, kind: EntryKind, id: str) -> Entry | None:
        raise NotImplementedError

    def close(self) -> None:
        return


def test_failures_are_counted_and_the_next_turn_goes_on() -> None:
    """Sizes are exported from the start; a failed turn is counted, and what the next one moves too."""
    store, metrics = Store(), ControlMetrics()
    upkeep = start_upkeep(store, metrics, 0.01)

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"kairos_control_audit_{name}")

    assert (value("online_entries"), value("online_bytes"), value("archived_entries_total")) == (7, 700, 0)
    deadline = time.monotonic() + 10
    while store.turns < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # until the task has got on
    upkeep.close()
    assert (value("archive_failures_total"), value("archived_entries_total")) == (1, 3)
    assert value("archive_bytes") == 70 + store.turns
