"""Control's server: grpc.aio with API keys, TLS, health, metrics and a graceful stop."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

from kairos.control.v1 import audit_pb2, audit_pb2_grpc, budgets_pb2, budgets_pb2_grpc, control_pb2, control_pb2_grpc
from services.common.periodic import Periodic
from services.common.process import freeze_gc
from services.control.adapters.parquet_archive import ArchivedColumns, ParquetArchive
from services.control.adapters.sql_audit_store import SqlAuditStore
from services.control.adapters.sql_bill_store import SqlBillStore
from services.control.adapters.sql_lease_store import SqlLeaseStore
from services.control.adapters.sql_store import SqlControlStore
from services.control.audit_handler import AuditHandler
from services.control.audit_upkeep import start_upkeep
from services.control.budget_handler import BudgetHandler
from services.control.domain.audit import EntryKind
from services.control.domain.limits import MAX_ANSWER_BYTES, MAX_RECORD_BYTES
from services.control.feed import SnapshotFeed
from services.control.handler import ControlHandler
from services.control.keyring import Keyring
from services.control.metrics import ControlMetrics
from services.control.ports import AuditStore, BillStore, ControlStore, LeaseStore
from services.control.price_decision import DECISION_COLUMNS, decision_values
from services.control.quoted_price import QUOTE_COLUMNS, quote_values
from services.control.settings import ControlSettings
from services.control.threads import Threads

SERVICES = (
    control_pb2.DESCRIPTOR.services_by_name["ControlService"].full_name,
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name,
    budgets_pb2.DESCRIPTOR.services_by_name["BudgetService"].full_name,
)
# As many of a store as it has connections, or fewer.
_STORE_THREADS, _AUDIT_THREADS, _BILL_THREADS = 8, 4, 4
# Of a message around its entries: a larger one is refused with the limit and the remedy instead of by gRPC.
_FRAME_BYTES = 64 << 10
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_RECORD_BYTES + _FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
    # The stream of a watcher that has vanished ends within half a minute. A watcher looks as often whether control is
    # still there.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # A second control that is started by mistake is refused the port.
    ("grpc.so_reuseport", 0),
    ("grpc.absolute_max_metadata_size", 8 << 10),
]

_log = structlog.get_logger("kairos.control.server")


@dataclass
class ControlServer:
    """A started control. `port` is the one that it listens on."""

    server: grpc.aio.Server
    port: int
    metrics: ControlMetrics
    _settings: ControlSettings
    _store: ControlStore
    _audit: AuditStore
    _bills: BillStore
    _leases: LeaseStore
    _upkeep: Periodic
    _feed: SnapshotFeed
    _following: asyncio.Task[None]
    _health: health.aio.HealthServicer
    _threads: tuple[Threads, ...]

    async def stop(self) -> None:
        """Reports NOT_SERVING, ends the watch streams, and lets calls in flight end."""
        await self._health.enter_graceful_shutdown()
        self._feed.close()
        await self.server.stop(self._settings.server.drain_s)
        await self._following
        # It may be in the middle of a large file.
        await asyncio.to_thread(self._upkeep.close)
        for threads in self._threads:
            threads.close()
        self._store.close()
        self._audit.close()
        self._bills.close()
        self._leases.close()


async def start_control(settings: ControlSettings) -> ControlServer:
    """Serves when it returns. Raises Conflict and Unavailable: see SqlControlStore."""
    store = SqlControlStore(_database(settings, "control"), settings.retention.retention)
    audit = SqlAuditStore(_database(settings, "audit"), _archive(settings), settings.audit.bounds)
    bills = SqlBillStore(_database(settings, "control"))
    leases = SqlLeaseStore(_database(settings, "control"), settings.leases.rules)
    metrics, keyring = ControlMetrics(), Keyring(settings.security)
    threads, audit_threads = Threads("store", _STORE_THREADS), Threads("audit", _AUDIT_THREADS)
    bill_threads = Threads("bills", _BILL_THREADS)
    feed = SnapshotFeed(store, keyring, threads, metrics, settings.poll_ms / 1e3)
    server = grpc.aio.server(options=_OPTIONS)
    handler = ControlHandler(store, keyring, feed, threads, metrics)
    control_pb2_grpc.add_ControlServiceServicer_to_server(handler, server)
    audit_handler = AuditHandler(audit, keyring, audit_threads, metrics)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(audit_handler, server)
    budgets = BudgetHandler(bills, leases, keyring, bill_threads, metrics)
    budgets_pb2_grpc.add_BudgetServiceServicer_to_server(budgets, server)
    healths = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    credentials, address = settings.security.credentials(), f"{settings.server.host}:{settings.server.port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    changed = asyncio.Event()
    tasks = set[asyncio.Task[Any]]()

    def on_health(is_up: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if is_up else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            task = asyncio.create_task(healths.set(name, status))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        changed.set()

    following = asyncio.create_task(feed.follow(on_health))
    # Keys of tenants are known before the first call.
    await changed.wait()
    await server.start()
    if settings.metrics.port:
        start_http_server(settings.metrics.port, settings.metrics.host, registry=metrics.registry)
    if not settings.security.api_keys and settings.server.host not in _LOOPBACK:
        _log.warning("every caller is an admin: no API keys, and not bound to loopback", host=settings.server.host)
    _log.info("listening", host=settings.server.host, port=port, tls=credentials is not None)
    upkeep = start_upkeep(audit, metrics, settings.audit.interval_s)
    return ControlServer(
        server, port, metrics, settings, store, audit, bills, leases, upkeep, feed, following, healths,
        (threads, audit_threads, bill_threads),
    )  # fmt: skip


async def run(settings: ControlSettings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    control = await start_control(settings)
    freeze_gc()
    await stop.wait()
    await control.stop()


def _database(settings: ControlSettings, name: str) -> str:
    if url := settings.database_url.get_secret_value():
        return url
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{settings.data_dir.resolve() / f'{name}.db'}"


def _archive(settings: ControlSettings) -> ParquetArchive:
    columns, audit = (
        {
            EntryKind.PRICE_QUOTE: ArchivedColumns(QUOTE_COLUMNS, quote_values),
            EntryKind.PRICE_DECISION: ArchivedColumns(DECISION_COLUMNS, decision_values),
        },
        settings.audit,
    )
    if audit.archive_url:
        return ParquetArchive(audit.archive_url, columns)
    return ParquetArchive(str(settings.data_dir / "audit_archive"), columns, audit.archive_mib << 20)
