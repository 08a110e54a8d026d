"""What control publishes, as a service of the data plane follows it: watched, kept on disk, there with control down.

Each tenant has one snapshot. A snapshot that a part of the service cannot use is refused as a whole: the one before it
stays in use, in memory and on disk.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, Counter, Gauge

from kairos.control.v1 import control_pb2, control_pb2_grpc
from services.common.context import check_tenant
from services.common.control_access import ControlAccessSettings
from services.common.errors import InvalidArgument
from services.common.versions import replace_file

# A snapshot has at most 16 MiB as JSON.
_MOST_BYTES = 24 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", _MOST_BYTES),
    # A control that has vanished without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A control that is back is found within a third of a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
]
# Seconds between two tries, and after an error that trying again does not help.
_PAUSE_S, _LONG_PAUSE_S = (0.05, 0.15), (1.0, 3.0)
_TEMPORARY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)
_SUFFIX = ".snapshot"

_log = structlog.get_logger("kairos.published")

# Checks a snapshot, prepares its use in a thread, and returns what takes it into use. Raises InvalidArgument.
Prepare = Callable[[control_pb2.Snapshot], Callable[[], None]]


class PublishedMetrics:
    """`prefix`: what the names begin with, for example kairos_gateway."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.version = Gauge(
            f"{prefix}_snapshot_version", "The published snapshot in use.", ["tenant"], registry=registry,
            multiprocess_mode="livemin",
        )  # fmt: skip
        self.connected = Gauge(
            f"{prefix}_control_connected", "1 while control is watched.", registry=registry, multiprocess_mode="livemin"
        )
        self.refused = Counter(f"{prefix}_refused_snapshots", "Snapshots that cannot be used.", registry=registry)
        self._registry, self._prefix = registry, prefix

    def measures(self) -> dict[str, float]:
        """By the name of the metric, for a process that exports in another way; without the versions of tenants."""
        samples = {"control_connected": "control_connected", "refused_snapshots": "refused_snapshots_total"}
        return {
            f"{self._prefix}_{name}": self._registry.get_sample_value(f"{self._prefix}_{sample}") or 0.0
            for name, sample in samples.items()
        }


class PublishedSnapshots:
    """`versions`: the version of the snapshot in use, by tenant."""

    def __init__(
        self, settings: ControlAccessSettings, kinds: Sequence[control_pb2.ResourceKind.ValueType],
        subscribers: Sequence[Prepare], metrics: PublishedMetrics,
    ) -> None:  # fmt: skip
        self._settings, self._subscribers, self._metrics = settings, tuple(subscribers), metrics
        self._asked = control_pb2.WatchSnapshotsRequest(kinds=kinds)
        self.versions: dict[str, int] = {}
        # The last refusal that was logged.
        self._was_refused = ""

    def load(self) -> None:
        """Takes the snapshots on disk into use. One that cannot be used is left out. To be called before `follow`."""
        folder = self._settings.folder
        for file in sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else ():
            try:
                if file.stat().st_size > _MOST_BYTES:
                    raise InvalidArgument.of(file.name, f"has more than {_MOST_BYTES} bytes; remove it")
                snapshot = control_pb2.Snapshot.FromString(file.read_bytes())
                self._take(snapshot, self._prepared(snapshot))
            except (OSError, DecodeError, InvalidArgument) as error:
                self._metrics.refused.inc()
                _log.error("a snapshot on disk cannot be used", file=str(file), error=str(error))

    async def follow(self) -> None:
        """Watches control until it is cancelled: one stream after the other, over a channel that connects again."""
        settings = self._settings
        async with settings.connect_async(_OPTIONS) as channel:
            stub = control_pb2_grpc.ControlServiceStub(channel)
            while True:
                stream: Any = stub.WatchSnapshots(self._asked, metadata=settings.metadata)
                try:
                    await stream.initial_metadata()
                    self._metrics.connected.set(1)
                    async for answer in stream:
                        prepared = await asyncio.to_thread(self._received, answer.snapshot)
                        self._take(answer.snapshot, prepared)
                    pause_s = _PAUSE_S
                except grpc.aio.AioRpcError as error:
                    pause_s = self._failed(error)
                finally:
                    stream.cancel()
                    self._metrics.connected.set(0)
                await asyncio.sleep(random.uniform(*pause_s))

    def follow_in_thread(self) -> FollowingThread:
        """As `follow`, for a process without an event loop of its own: a second one beside that of a gRPC server would
        share its queues.
        """
        return FollowingThread(self._watch_in_thread, self._settings.connect(_OPTIONS))

    def _watch_in_thread(self, channel: grpc.Channel, stop: threading.Event, use: Callable[[Any], None]) -> None:
        stub = control_pb2_grpc.ControlServiceStub(channel)
        while not stop.is_set():
            stream: Any = stub.WatchSnapshots(self._asked, metadata=self._settings.metadata)
            use(stream)
            try:
                # Blocks until control answers or fails.
                stream.initial_metadata()
                self._metrics.connected.set(int(stream.is_active()))
                for answer in stream:
                    self._take(answer.snapshot, self._received(answer.snapshot))
                pause_s = _PAUSE_S
            except grpc.RpcError as error:
                pause_s = self._failed(error)
            except Exception:
                # Nobody else would notice that the thread has ended.
                self._metrics.refused.inc()
                _log.exception("following control failed; trying again")
                pause_s = _LONG_PAUSE_S
            finally:
                stream.cancel()
                self._metrics.connected.set(0)
            stop.wait(random.uniform(*pause_s))

    def _failed(self, error: Any) -> tuple[float, float]:
        """How long to wait: many watchers of a control that has restarted do not come at the same moment."""
        if error.code() in _TEMPORARY:
            return _PAUSE_S
        problem = f"{error.code().name}: {error.details()}"
        if problem != self._was_refused:
            self._was_refused = problem
            _log.error("control refuses the watch", target=self._settings.target, error=problem)
        return _LONG_PAUSE_S

    def _received(self, snapshot: control_pb2.Snapshot) -> list[Callable[[], None]] | None:
        """What takes it into use; None if it is in use, or cannot be used."""
        self._was_refused = ""
        if self.versions.get(snapshot.tenant) == snapshot.version:
            return None
        try:
            prepared = self._prepared(snapshot)
        except InvalidArgument as error:
            self._metrics.refused.inc()
            _log.error(
                "a snapshot cannot be used; the one before it stays", tenant=snapshot.tenant, version=snapshot.version,
                kept=self.versions.get(snapshot.tenant), error=str(error),
            )  # fmt: skip
            return None
        try:
            # First: what was in use once is in use again after a restart.
            self._save(snapshot)
        except OSError as error:
            _log.error("a snapshot is not on disk", folder=str(self._settings.folder), error=str(error))
        return prepared

    def _prepared(self, snapshot: control_pb2.Snapshot) -> list[Callable[[], None]]:
        if check_tenant(snapshot.tenant, "snapshot.tenant") != snapshot.tenant:
            raise InvalidArgument.of("snapshot.tenant", "is empty; remove the file, control sends the snapshot again")
        return [prepare(snapshot) for prepare in self._subscribers]

    def _take(self, snapshot: control_pb2.Snapshot, prepared: Sequence[Callable[[], None]] | None) -> None:
        """Without a pause between the parts: no call of an event loop sees one part of a snapshot and not the other."""
        if prepared is None:
            return
        for use in prepared:
            use()
        self.versions[snapshot.tenant] = snapshot.version
        self._metrics.version.labels(snapshot.tenant).set(snapshot.version)
        _log.info("snapshot in use", tenant=snapshot.tenant, version=snapshot.version)

    def _save(self, snapshot: control_pb2.Snapshot) -> None:
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{snapshot.tenant}{_SUFFIX}", snapshot.SerializeToString())


class FollowingThread:
    """Runs `watch` until `close`. It gets the channel, the event that says when to end, and what to call with each
    stream, so that `close` can end it.
    """

    def __init__(
        self, watch: Callable[[grpc.Channel, threading.Event, Callable[[Any], None]], None], channel: grpc.Channel
    ) -> None:
        self._channel, self._stop = channel, threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(
            target=watch, args=(channel, self._stop, self._use), name="published", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._stream is not None:
            self._stream.cancel()
        self._thread.join()
        self._channel.close()

    def _use(self, stream: Any) -> None:
        self._stream = stream
        if self._stop.is_set():
            stream.cancel()
