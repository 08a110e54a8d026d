"""The query encoder's own handler on a plain grpc.aio server, in a separate process.

`python -m benchmarks.encoder_server` prints its port and serves until SIGTERM, on uvloop as Serve's replicas do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import uvloop

from kairos.encoder.v1 import encoder_pb2_grpc
from services.common.context import DEFAULT_TENANT
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler


@contextlib.contextmanager
def encoder_server(data_dir: Path) -> Iterator[str]:
    """host:port of a started server with its lexicons in `data_dir`."""
    command = [sys.executable, "-m", __name__, "--data", str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            if not port:
                raise RuntimeError("the encoder's server did not start; its messages are above")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


async def _serve(data_dir: Path) -> None:
    configure_telemetry("query_encoder", TelemetrySettings(log_level="warning"))
    # Its caller repeats the queries and measures the model.
    handler = build_handler(QueryEncoderSettings(data_dir=data_dir, vector_cache_mb=0))
    handler.warm(DEFAULT_TENANT)
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    print(port, flush=True)
    await stop.wait()
    await server.stop(None)
    handler.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    uvloop.run(_serve(parser.parse_args().data))
