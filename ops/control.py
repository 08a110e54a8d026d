"""Starts, stops and watches the suite on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console

from ops.hosting import has_haproxy
from ops.processes import end_all, marker_of, suite_processes
from ops.settings import SuiteSettings
from ops.state import SuiteState, read_state

READY_TIMEOUT_S = 240.0
STAGE_SERVICES = (
    "kairos.encoder.v1.QueryEncoderService",
    "kairos.retrieval.v1.RetrievalService",
    "kairos.ranker.v1.RankerService",
    "kairos.pricing.v1.PricingService",
)

_console = Console(stderr=True)


class SuiteError(Exception):
    """The suite could not be started or stopped; the message says why and what to do."""


def start(settings: SuiteSettings) -> tuple[subprocess.Popen[bytes], SuiteState]:
    """Start a supervisor and wait until every stage serves. Raises SuiteError; nothing is left running then."""
    settings = settings.resolved()
    folder = settings.data_dir
    if running := read_state(folder):
        raise SuiteError(f"a suite runs in {folder} already (gateway {running.gateway}); `kairos down` stops it")
    end_all(folder)  # what a killed supervisor left behind
    if busy := settings.busy_ports():
        name, port = next(iter(busy.items()))
        raise SuiteError(f"port {port} is taken; set KAIROS_SUITE_{name.upper()} to another one, or to 0 for any")
    if not has_haproxy():
        _console.print("[yellow]HAProxy has no wheel here: Serve's own Python proxy takes the calls, which is slower.")
    environment = {**os.environ, **marker_of(folder), **settings.environment()}
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with (folder / "logs" / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "ops.supervisor"],
            env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        with _console.status("Starting Ray Serve and the gateway"):
            return supervisor, _wait_ready(settings, supervisor)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise


def stop(folder: Path) -> int:
    """Stop the suite in `folder`. Returns how many processes it had."""
    count = len(suite_processes(folder))
    if state := read_state(folder):
        supervisor = psutil.Process(state.supervisor_pid)
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisor], timeout=60)
    end_all(folder)
    return count


def wait(supervisor: subprocess.Popen[bytes]) -> None:
    """Until Ctrl-C or SIGTERM, then stop the suite."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        supervisor.wait()
    except KeyboardInterrupt:
        _console.print("Stopping")
        supervisor.terminate()
        supervisor.wait()


def _wait_ready(settings: SuiteSettings, supervisor: subprocess.Popen[bytes]) -> SuiteState:
    deadline = time.monotonic() + READY_TIMEOUT_S
    state = SuiteState.of(settings, supervisor.pid)
    answers: dict[str, str] = {}
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            raise SuiteError(f"the supervisor ended; {settings.data_dir}/logs/supervisor.log says why")
        answers = health(state.gateway)
        if answers and all(answer == "SERVING" for answer in answers.values()):
            return state
        time.sleep(0.3)
    late = ", ".join(name for name, answer in answers.items() if answer != "SERVING") or "the gateway"
    raise SuiteError(f"not ready after {READY_TIMEOUT_S:.0f} s: {late}; logs are in {settings.data_dir}/logs")


def health(target: str) -> dict[str, str]:
    return health_of(grpc.insecure_channel(target))


def health_of(channel: grpc.Channel) -> dict[str, str]:
    """What the gateway says of itself and of the stages; {"gateway": "UNREACHABLE"} where it does not answer."""
    with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = {}
        for name, service in [("gateway", ""), *((service.split(".")[1], service) for service in STAGE_SERVICES)]:
            try:
                # The stubs of grpc_health know no methods.
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=2)  # type: ignore[attr-defined]
                answers[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    return {"gateway": "UNREACHABLE"}
                answers[name] = error.code().name
        return answers
