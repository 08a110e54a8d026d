"""Follows the file with the replicas of the suite on this machine, so that the gateway can call them directly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from services.common.replica_file import Replicas, read_replicas
from services.gateway.adapters.stage_clients import StageClients
from services.gateway.background.supervisor import Supervisor
from services.gateway.metrics import Metrics

# A replica that Serve stops still answers for a second (ops/hosting): it has to be unused before.
_PERIOD_S = 0.25

_log = structlog.get_logger("kairos.replicas")


class ReplicaWatch:
    """Without the file, or when it cannot be read, all calls go through the ingress."""

    def __init__(self, file: Path, clients: StageClients, metrics: Metrics, supervisor: Supervisor) -> None:
        self._file, self._clients, self._metrics = file, clients, metrics
        supervisor.keep("replicas", self._watch_forever)

    async def _watch_forever(self) -> None:
        known: object = None
        while True:
            version = self._version()
            if version != known:
                self._clients.use(self._read())
                known = version
            for stage, route in self._clients.routes.items():
                await route.tidy()
                self._metrics.direct_replicas.labels(stage.value).set(route.connected)
            await asyncio.sleep(_PERIOD_S)

    def _version(self) -> object:
        try:
            status = self._file.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> Replicas:
        try:
            replicas = read_replicas(self._file)
        except (OSError, ValueError) as error:
            _log.warning("the replicas are unknown; calls go through the ingress", file=self._file, error=str(error))
            return {}
        _log.info("replicas", **{stage: sorted(ports.values()) for stage, ports in replicas.items()})
        return replicas
