"""Keeps the audit within its bounds, in a thread of its own."""

from __future__ import annotations

import threading

from services.common.periodic import Periodic
from services.control.metrics import ControlMetrics
from services.control.ports import AuditStore


def start_upkeep(store: AuditStore, metrics: ControlMetrics, interval_s: float) -> Periodic:
    """Archives every `interval_s` seconds. Raises Unavailable."""

    def report() -> None:
        size = store.size()
        metrics.audit_online_entries.set(size.online_entries)
        metrics.audit_online_bytes.set(size.online_bytes)
        metrics.audit_archive_bytes.set(size.archive_bytes)

    def turn(stop: threading.Event) -> None:
        try:
            with metrics.audit_archive_failures.count_exceptions():
                store.archive(stop, metrics.audit_archived_entries.inc)
        finally:
            report()

    report()
    return Periodic("audit", turn, interval_s)
