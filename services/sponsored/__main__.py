"""The biller: computes what campaigns owe from the gateway's log, and records it in control, until it is stopped
(SIGTERM, SIGINT).

docs/how-to/sponsored-places.md describes the work, docs/reference/metrics.md its metrics. Settings: KAIROS_BILLER_*.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from services.common.errors import InvalidArgument
from services.common.settings import load_settings
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.biller.wiring import run


def main() -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    argparse.ArgumentParser("python -m services.sponsored", description=__doc__).parse_args()
    try:
        run(load_settings(BillerSettings), stop)
    except (InvalidArgument, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
