"""The serving configuration in use. Its file is read again when it changes; an invalid one is not used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from services.common.errors import InvalidArgument
from services.common.serving_configuration import ServingConfiguration
from services.gateway.adapters.serving_file import load_configuration
from services.gateway.background.supervisor import Supervisor
from services.gateway.metrics import Metrics

_PERIOD_S = 1.0

_log = structlog.get_logger("kairos.serving")


class Serving:
    """Without a file it is the embedded configuration. Raises InvalidArgument for a file that is invalid at the start.

    The metric serving_configuration_valid is 0 while the file is invalid and the configuration before it is in use.
    """

    def __init__(self, file: Path | None, metrics: Metrics) -> None:
        self._file, self._metrics = file, metrics
        self._version = self._version_now()
        self.configuration: ServingConfiguration = load_configuration(file)
        metrics.serving_configuration_valid.set(1)

    def start(self, supervisor: Supervisor) -> None:
        """Follows the file from now on. Needs a running event loop."""
        if self._file is not None:
            supervisor.keep("serving_configuration", self._watch_forever)

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
