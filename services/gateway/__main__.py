"""`python -m services.gateway`: the gateway, from KAIROS_GATEWAY_* and the file in KAIROS_GATEWAY_CONFIG."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry
from services.gateway.server import run
from services.gateway.settings import GatewaySettings

if __name__ == "__main__":
    argparse.ArgumentParser("python -m services.gateway", description=__doc__).parse_args()
    settings = load_settings(GatewaySettings)
    configure_telemetry("gateway", settings.telemetry)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
