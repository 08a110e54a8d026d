"""Watches the running experiments until it is stopped (SIGTERM, SIGINT): docs/how-to/experiments.md.

Settings: KAIROS_EXPERIMENTS_*.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Any

import structlog

from experiments.log import LogReader
from experiments.settings import ExperimentSettings
from experiments.watch import Watch
from kairos.control.v1 import control_pb2_grpc
from kairos.gateway.v1 import gateway_pb2_grpc
from services.common.errors import InvalidArgument
from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry

_TIMEOUT_S = 10.0

_log = structlog.get_logger("kairos.experiments")


def main() -> int:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    argparse.ArgumentParser("python -m experiments", description=__doc__).parse_args()
    try:
        run(load_settings(ExperimentSettings), stopping)
    except (InvalidArgument, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(settings: ExperimentSettings, stopping: threading.Event) -> None:
    configure_telemetry("experiments", settings.telemetry)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    access, gateway = settings.control, settings.gateway
    with access.connect() as channel, gateway.channel() as log:
        control = control_pb2_grpc.ControlServiceStub(channel)

        def call(method: str, request: Any) -> Any:
            return getattr(control, method)(request, timeout=_TIMEOUT_S, metadata=access.metadata)

        stub = gateway_pb2_grpc.GatewayServiceStub(log)
        watch = Watch(
            call, settings.tenant, lambda: LogReader(stub, gateway.metadata, gateway.timeout_s), settings.data_dir
        )
        while not stopping.is_set():
            try:
                watch.turn(stopping)
            except Exception:  # a defect must not end the watch
                _log.exception("a turn failed; the next one tries again")
            stopping.wait(settings.every_s)


if __name__ == "__main__":
    sys.exit(main())
