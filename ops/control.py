"""Starts and stops the suite on this machine, and reads its health."""

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

# Seconds that the suite may take to start.
READY_TIMEOUT_S = 240.0
STAGE_SERVICES = (
    "kairos.encoder.v1.QueryEncoderService",
    "kairos.retrieval.v1.RetrievalService",
    "kairos.ranker.v1.RankerService",
    "kairos.sponsored.v1.SponsoredService",
    "kairos.pricing.v1.PricingService",
    "kairos.assistant.v1.AssistantService",
)
# A suite may have no sponsored places and no assistant: then the gateway does not know their services.
_OPTIONAL = ("kairos.sponsored.v1.SponsoredService", "kairos.assistant.v1.AssistantService")

_console = Console(stderr=True)


class SuiteError(Exception):
    """The suite could not be started; the message has the reason and the remedy."""


def start(settings: SuiteSettings) -> tuple[subprocess.Popen[bytes], SuiteState]:
    """Starts a supervisor and waits until every stage serves. Raises SuiteError; then no process is left running."""
    settings = settings.resolved()
    folder = settings.data_dir
    if running := read_state(folder):
        raise SuiteError(f"a suite is running in {folder} (gateway {running.gateway}); `kairos down` stops it")
    # Processes that a killed supervisor left behind.
    end_all(folder)
    if busy := settings.busy_ports():
        name, port = next(iter(busy.items()))
        raise SuiteError(
            f"port {port} is in use; set KAIROS_SUITE_{name.upper()} to another port, or to 0 for any free port"
        )
    if not has_haproxy():
        _console.print(
            "[yellow]HAProxy is not installed: calls go through the Python proxy of Ray Serve, which is slower."
        )
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
    """Stops the suite in `folder`. Returns the number of its processes."""
    count = len(suite_processes(folder))
    if state := read_state(folder):
        supervisor = psutil.Process(state.supervisor_pid)
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisor], timeout=60)
    end_all(folder)
    return count


def wait(supervisor: subprocess.Popen[bytes]) -> None:
    """Waits until Ctrl-C or SIGTERM, then stops the suite."""
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
            raise SuiteError(f"the supervisor ended; the reason is in {settings.data_dir}/logs/supervisor.log")
        answers = health(state)
        if answers and all(answer == "SERVING" for answer in answers.values()):
            return state
        time.sleep(0.3)
    late = ", ".join(name for name, answer in answers.items() if answer != "SERVING") or "the gateway"
    raise SuiteError(f"not ready after {READY_TIMEOUT_S:.0f} s: {late}; the logs are in {settings.data_dir}/logs")


def health(suite: SuiteState) -> dict[str, str]:
    """The health of the gateway, of each stage and of control, by name: see `health_of`."""
    return {**health_of(grpc.insecure_channel(suite.gateway)), "control": _health_of_control(suite.control)}


def health_of(channel: grpc.Channel) -> dict[str, str]:
    """The health of the gateway and of each stage that it has, as the gateway reports it, by name. {"gateway":
    "UNREACHABLE"} if it does not answer.
    """
    with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = {}
        for name, service in [("gateway", ""), *((service.split(".")[1], service) for service in STAGE_SERVICES)]:
            try:
                # The types of grpc_health declare no methods.
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=2)  # type: ignore[attr-defined]
                answers[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    return {"gateway": "UNREACHABLE"}
                if error.code() != grpc.StatusCode.NOT_FOUND or service not in _OPTIONAL:
                    answers[name] = error.code().name
        return answers


def _health_of_control(target: str) -> str:
    with grpc.insecure_channel(target) as channel:
        try:
            # The types of grpc_health declare no methods.
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            return "UNREACHABLE" if error.code() == grpc.StatusCode.UNAVAILABLE else str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
