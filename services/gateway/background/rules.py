"""The merchandising rules in use: those of files, which are read again when they change, and those that control
publishes. Invalid ones are not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from kairos.control.v1 import control_pb2
from services.common.context import DEFAULT_TENANT
from services.common.errors import InvalidArgument
from services.common.merchandising import RuleSet
from services.gateway.adapters.rules_file import load_rules
from services.gateway.background.supervisor import Supervisor
from services.gateway.convert import published_rules
from services.gateway.domain.rule_index import RuleIndex
from services.gateway.metrics import Metrics

_PERIOD_S = 1.0
_NO_RULES = RuleIndex(RuleSet())
_SUFFIX = ".yaml"

_log = structlog.get_logger("kairos.rules")


class Rules:
    """Those that control publishes for a tenant; for a tenant that has none there those of files.

    The path is that of a file, for the default tenant, or of a folder with a file `<tenant>.yaml` for each tenant.

    Raises InvalidArgument for a file that is invalid at the start. The metric merchandising_rules_valid is 0 while a
    file is invalid and the rules before it are in use. A file that is removed is invalid; one that is removed from a
    folder ends the rules of its tenant.
    """

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        self._path, self._metrics = path, metrics
        self._versions: dict[str, object] = {}
        self._indices: dict[str, RuleIndex] = {}
        self._invalid = set[str]()
        self._published: dict[str, RuleIndex] = {}
        for tenant, file in self._files().items():
            self._versions[tenant] = _version_of(file)
            self._indices[tenant] = RuleIndex(load_rules(file))
        metrics.merchandising_rules_valid.set(1)

    def of(self, tenant: str) -> RuleIndex:
        return self._published.get(tenant) or self._indices.get(tenant, _NO_RULES)

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        index = RuleIndex(published_rules(snapshot))

        def use() -> None:
            self._published.pop(snapshot.tenant, None)
            if index.rules:
                self._published[snapshot.tenant] = index

        return use

    def start(self, supervisor: Supervisor) -> None:
        """Follows the files from now on. Needs a running event loop."""
        if self._path is not None:
            supervisor.keep("merchandising_rules", self._watch_forever)

    async def look(self) -> None:
        """Reads what has changed."""
        files = self._files()
        for tenant in self._indices.keys() - files.keys():
            del self._indices[tenant], self._versions[tenant]
            self._invalid.discard(tenant)
            _log.info("merchandising rules removed", tenant=tenant)
        for tenant, file in files.items():
            if (version := _version_of(file)) != self._versions.get(tenant):
                self._versions[tenant] = version
                await self._read(tenant, file)
        self._metrics.merchandising_rules_valid.set(0 if self._invalid else 1)

    async def _read(self, tenant: str, file: Path) -> None:
        try:
            # Reading thousands of rules takes longer than other calls may wait.
            index = await asyncio.to_thread(lambda: RuleIndex(load_rules(file)))
        except InvalidArgument as error:
            self._invalid.add(tenant)
            _log.error("merchandising rules kept: the changed file is invalid", file=str(file), error=str(error))
            return
        self._invalid.discard(tenant)
        self._indices[tenant] = index
        _log.info("merchandising rules changed", tenant=tenant, version=index.version, rules=len(index.rules))

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            await self.look()

    def _files(self) -> dict[str, Path]:
        """By tenant."""
        if self._path is None:
            return {}
        if not self._path.is_dir():
            return {DEFAULT_TENANT: self._path}
        return {file.stem: file for file in sorted(self._path.glob(f"*{_SUFFIX}"))}


def _version_of(file: Path) -> object:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
