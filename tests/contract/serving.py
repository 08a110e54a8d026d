"""One service in a process of its own, without Ray: `python -m tests.contract.serving SERVICE FOLDER`.

Prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from services.pricing import wiring as pricing
from services.pricing.settings import PricingSettings
from services.ranker import wiring as ranker
from services.ranker.settings import RankerSettings

ROOT = Path(__file__).parents[2]


@contextmanager
def process(service: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(the process, its address). Killed in the end, if it was not before."""
    command = [sys.executable, "-m", "tests.contract.serving", service, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as started:
        try:
            assert started.stdout is not None
            yield started, f"127.0.0.1:{int(started.stdout.readline())}"
        finally:
            started.send_signal(signal.SIGKILL)


async def _serve(service: str, folder: Path) -> None:
    server = grpc.aio.server()
    if service == "ranker":
        handler = ranker.build_handler(RankerSettings(data_dir=folder))
        ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    else:
        quoting = pricing.build_handler(PricingSettings(data_dir=folder))
        pricing_pb2_grpc.add_PricingServiceServicer_to_server(quoting, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2])))
