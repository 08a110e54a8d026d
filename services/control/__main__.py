"""`python -m services.control`: control, from KAIROS_CONTROL_* and the file in KAIROS_CONTROL_CONFIG."""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvloop

from services.common.errors import KairosError
from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry
from services.control.server import run
from services.control.settings import ControlSettings


def main() -> None:
    argparse.ArgumentParser("python -m services.control", description=__doc__).parse_args()
    try:
        settings = load_settings(ControlSettings)
        configure_telemetry("control", settings.telemetry)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except KairosError as error:
        sys.exit(f"control cannot start: {error}")


if __name__ == "__main__":
    main()
