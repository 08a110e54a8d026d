"""Replaces connections to the stages that have grown old."""

from __future__ import annotations

import asyncio

from services.gateway.adapters.stage_clients import StageClients
from services.gateway.background.supervisor import Supervisor

_PERIOD_S = 1.0


class ConnectionRenewal:
    def __init__(self, clients: StageClients, supervisor: Supervisor) -> None:
        self._clients = clients
        supervisor.keep("connections", self._renew_forever)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            for channel in self._clients.channels.values():
                await channel.renew()
