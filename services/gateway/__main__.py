"""`python -m services.gateway`: the gateway, from KAIROS_GATEWAY_* and the file in KAIROS_GATEWAY_CONFIG."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry
from services.gateway.processes import become_worker, run_processes
from services.gateway.server import run
from services.gateway.settings import GatewaySettings


def main() -> None:
    parser = argparse.ArgumentParser("python -m services.gateway", description=__doc__)
    # One of the processes that share the port; their parent sets it.
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    worker: int | None = parser.parse_args().worker
    settings = load_settings(GatewaySettings)
    configure_telemetry("gateway", settings.telemetry)
    if worker is None and settings.server.processes > 1:
        run_processes(settings)
        return
    if worker is not None:
        become_worker(worker)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, is_worker=worker is not None))


if __name__ == "__main__":
    main()
