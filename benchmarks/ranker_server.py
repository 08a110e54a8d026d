"""The ranker's real handler behind plain grpc.aio, in a process of its own, on one core.

`python -m benchmarks.ranker_server` prints its port and serves until it is killed. On uvloop, as Serve's replicas are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import grpc
import uvloop

from kairos.ranker.v1 import ranker_pb2_grpc
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler


@contextmanager
def ranker_server(
    data_dir: Path, redis_url: str, core: int, port: int = 0, log: IO[str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(process, host:port) of a started server; with `redis_url` its store is Redis. Killed in the end.

    What it says goes to `log`, where there is one.
    """
    command = [sys.executable, "-m", __name__, "--data", str(data_dir), "--redis", redis_url, "--core", str(core)]
    command += ["--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            bound = process.stdout.readline().strip() if process.stdout else ""
            if not bound:
                raise RuntimeError("the ranker's server did not start; its messages are above")
            yield process, f"127.0.0.1:{bound}"
        finally:
            process.kill()


async def _serve(data_dir: Path, redis_url: str, port: int) -> None:
    configure_telemetry("ranker", TelemetrySettings(log_level="warning"))
    handler = build_handler(
        RankerSettings(data_dir=data_dir, store="redis" if redis_url else "sqlite", redis_url=redis_url)
    )
    server = grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(bound, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--redis", default="")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    uvloop.run(_serve(arguments.data, arguments.redis, arguments.port))
