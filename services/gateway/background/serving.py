"""The serving configurations in use: that of the file, which is read again when it changes, and above it those that
control publishes for a tenant. An invalid one is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from kairos.control.v1 import control_pb2
from services.common.errors import InvalidArgument
from services.common.serving_configuration import ServingConfiguration
from services.gateway.adapters.serving_file import load_configuration
from services.gateway.background.supervisor import Supervisor
from services.gateway.convert import published_configurations
from services.gateway.metrics import Metrics

_PERIOD_S = 1.0
# The version of several published configurations together.
_OF_SEVERAL = "control"
# Combinations of arms whose configuration is kept; with more of them all are made again.
_MOST_COMBINED = 1_000

_log = structlog.get_logger("kairos.serving")


class Serving:
    """Without a file it is the embedded configuration. Raises InvalidArgument for a file that is invalid at the start.

    The metric serving_configuration_valid is 0 while the file is invalid and the configuration before it is in use.
    """

    def __init__(self, file: Path | None, metrics: Metrics) -> None:
        self._file, self._metrics = file, metrics
        self._version = self._version_now()
        self.configuration: ServingConfiguration = load_configuration(file)
        # By tenant: the one of control, and all that it has, by id.
        self._published: dict[str, ServingConfiguration] = {}
        self._named: dict[str, dict[str, ServingConfiguration]] = {}
        # By tenant and the ids of an experiment's arms: the one in use, and over which one of the file.
        self._combined: dict[tuple[str, tuple[str, ...]], tuple[ServingConfiguration, ServingConfiguration]] = {}
        metrics.serving_configuration_valid.set(1)

    def start(self, supervisor: Supervisor) -> None:
        """Follows the file from now on. Needs a running event loop."""
        if self._file is not None:
            supervisor.keep("serving_configuration", self._watch_forever)

    def of(self, tenant: str, in_arms: tuple[str, ...] = ()) -> ServingConfiguration:
        """That of control over that of the file, for a tenant that has one there; above it those that the arms of the
        request's experiments name.
        """
        published, named = self._published.get(tenant), self._named.get(tenant, {})
        above = [one for one in (published, *(named.get(id) for id in in_arms)) if one is not None]
        if not above:
            return self.configuration
        base, combined = self._combined.get((tenant, in_arms), (None, self.configuration))
        if base is not self.configuration:
            combined = self.configuration
            for one in above:
                combined = one.over(combined)
            if len(self._combined) >= _MOST_COMBINED:
                self._combined.clear()
            self._combined[tenant, in_arms] = (self.configuration, combined)
        return combined

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        found = published_configurations(snapshot)
        everybody = [one.configuration for one in found if not one.only_in_experiments]
        placements = {name: placement for each in everybody for name, placement in each.placements.items()}

        def use() -> None:
            tenant = snapshot.tenant
            self._combined = {key: value for key, value in self._combined.items() if key[0] != tenant}
            self._published.pop(tenant, None)
            self._named.pop(tenant, None)
            if found:
                self._named[tenant] = {one.id: one.configuration for one in found}
            if everybody:
                version = everybody[0].version if len(everybody) == 1 else _OF_SEVERAL
                self._published[tenant] = ServingConfiguration(
                    version=version, placements=placements, sponsored=all(each.sponsored for each in everybody)
                )

        return use

    def look(self) -> None:
        """Reads the file if it has changed."""
        if (version := self._version_now()) == self._version:
            return
        self._version = version
        try:
            self.configuration = load_configuration(self._file)
        except InvalidArgument as error:
            self._metrics.serving_configuration_valid.set(0)
            _log.error("serving configuration kept: the changed file is invalid", file=self._file, error=str(error))
            return
        self._metrics.serving_configuration_valid.set(1)
        _log.info("serving configuration changed", version=self.configuration.full_version)

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            self.look()

    def _version_now(self) -> object:
        try:
            status = self._file.stat() if self._file is not None else None
        except OSError:
            return ()
        return None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino)
