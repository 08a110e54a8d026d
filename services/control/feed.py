"""Follows the snapshots in the database, for the watch streams and the keyring of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from kairos.control.v1 import control_pb2
from services.common.errors import KairosError
from services.control.convert import snapshot_to_proto
from services.control.keyring import Keyring
from services.control.metrics import ControlMetrics
from services.control.ports import ControlStore
from services.control.threads import Threads

# Messages of one snapshot that are kept, each with other kinds. Services ask for two or three.
_MOST_MESSAGES = 8

_log = structlog.get_logger("kairos.control.feed")


class SnapshotFeed:
    """Looks for new snapshots every `poll_s` seconds, and when `wake` is called. `on_health` is called with whether the
    database answers, when that changes.
    """

    def __init__(
        self, store: ControlStore, keyring: Keyring, threads: Threads, metrics: ControlMetrics, poll_s: float
    ) -> None:
        self._store, self._keyring, self._threads = store, keyring, threads
        self._metrics, self._poll_s = metrics, poll_s
        self.versions: Mapping[str, int] = {}
        self._due, self._changed = asyncio.Event(), asyncio.Event()
        # By tenant: the newest snapshot that was asked for, as a message for each set of kinds.
        self._messages: dict[str, tuple[int, dict[frozenset[str], control_pb2.Snapshot]]] = {}
        self._reading = asyncio.Lock()
        self.is_closed = False

    def wake(self) -> None:
        """The next look begins at once."""
        self._due.set()

    def close(self) -> None:
        """Ends `follow`, and wakes everybody who waits for a change."""
        self.is_closed = True
        self._due.set()
        self._tell()

    async def follow(self, on_health: Callable[[bool], object]) -> None:
        """Until `close`."""
        is_up: bool | None = None
        while not self.is_closed:
            self._due.clear()
            try:
                await self._look()
                now_up = True
            except KairosError as error:
                now_up = False
                _log.warning("snapshots cannot be read", error=str(error))
            except Exception:
                # The next look tries again, whatever it was.
                now_up = False
                _log.exception("snapshots cannot be read")
            if now_up != is_up:
                is_up = now_up
                self._metrics.database_up.set(int(is_up))
                on_health(is_up)
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def changed(self, timeout_s: float) -> None:
        """Returns at the next change of a version, or after the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def snapshot(self, tenant: str, kinds: frozenset[str]) -> control_pb2.Snapshot | None:
        """The newest one, with the resources of these kinds; of all kinds if it is empty."""
        # All watchers ask for a new snapshot at the same moment: one of them reads it.
        async with self._reading:
            known, messages = self._messages.get(tenant, (None, {}))
            if known == self.versions.get(tenant) and kinds in messages:
                return messages[kinds]
            snapshot = await self._threads.run(self._store.snapshot, tenant)
            if snapshot is None:
                return None
            if known != snapshot.version:
                self._messages[tenant] = (snapshot.version, {})
            messages = self._messages[tenant][1]
            if kinds not in messages:
                if len(messages) >= _MOST_MESSAGES:
                    messages.clear()
                messages[kinds] = await self._threads.run(snapshot_to_proto, snapshot, kinds)
            return messages[kinds]

    async def _look(self) -> None:
        versions = await self._threads.run(self._store.versions)
        if versions == self.versions:
            return
        self._keyring.update(await self._threads.run(self._store.tenants))
        self.versions = versions
        for tenant, version in versions.items():
            self._metrics.snapshot_version.labels(tenant).set(version)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
