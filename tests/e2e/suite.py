"""Starts and stops the real suite by the `kairos` command, on free ports, in its own folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from kairos.control.v1 import audit_pb2, audit_pb2_grpc
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from ops.state import SuiteState, read_state

STAGES = ("query_encoder", "retrieval", "ranker", "sponsored", "pricing", "assistant")
SERVICES = (*STAGES, "gateway")
_COMMAND_TIMEOUT_S = 300.0
# Of a call of control.
_CALL_TIMEOUT_S = 10.0


@dataclass
class RunningSuite:
    """`seen` holds every process of the suite that a test observed. `settings` are additional environment variables."""

    data_dir: Path
    collector: str
    settings: Mapping[str, str] = field(default_factory=dict)
    seen: set[psutil.Process] = field(default_factory=set)

    def start(self) -> None:
        started = self.kairos("up", "--detach")
        assert started.returncode == 0, f"{started.stderr}\n{self.logs()}"
        self.look()

    def stop(self) -> subprocess.CompletedProcess[str]:
        self.look()
        return self.kairos("down")

    @property
    def state(self) -> SuiteState:
        state = read_state(self.data_dir)
        assert state is not None, f"no suite runs in {self.data_dir}\n{self.logs()}"
        return state

    def kairos(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command as a user does; it finds the suite by its folder or, once it runs, by its gateway."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("kairos")), *arguments],
            env=self._environment(), cwd=self.data_dir, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )  # fmt: skip

    def pids(self, name: str) -> list[int]:
        """The process ids of a stage's replicas, or of "gateway", "serve host" or "haproxy"."""
        return [process.pid for process in suite_processes(self.data_dir) if process.name == name]

    def kill(self, name: str) -> list[int]:
        """Kills every process of that kind with SIGKILL. Returns their ids."""
        self.look()
        pids = self.pids(name)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def look(self) -> None:
        for process in suite_processes(self.data_dir):
            try:
                self.seen.add(psutil.Process(process.pid))
            except psutil.Error:
                continue

    def left_over(self) -> list[str]:
        """The observed processes of the suite that still run."""
        self.look()
        return [_described(process) for process in self.seen if _lives(process)]

    def audited(self, quote_ids: Sequence[str]) -> dict[str, str]:
        """The request id of each of these quotes that control has on record."""
        found: dict[str, str] = {}
        with grpc.insecure_channel(self.state.control) as channel:
            stub = audit_pb2_grpc.AuditServiceStub(channel)
            for id in quote_ids:
                asked = audit_pb2.GetEntryRequest(kind=audit_pb2.ENTRY_KIND_PRICE_QUOTE, id=id)
                with contextlib.suppress(grpc.RpcError):
                    found[id] = stub.GetEntry(asked, timeout=_CALL_TIMEOUT_S).entry.request_id
        return found

    def are_on_record(self, quote_ids: Sequence[str]) -> None:
        """Waits until control has all of these quotes: they are delivered within seconds."""
        eventually("the quotes are on record", 30, lambda: len(self.audited(quote_ids)) == len(quote_ids))

    def log(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"{path}:\n{path.read_text()[-3000:]}" for path in self.data_dir.glob("logs/*.log"))

    def _environment(self) -> dict[str, str]:
        environment = {
            **os.environ,
            **SuiteSettings.on_free_ports(self.data_dir).environment(),
            **self.settings,
            # Exporting the model takes half a minute and is the same for every folder.
            "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR": str(Path("var/models").resolve()),
            # Spans are exported quickly, because a test waits for them.
            "OTEL_BSP_SCHEDULE_DELAY": "300",
        }
        for service in SERVICES:
            prefix = f"KAIROS_{service.upper()}_TELEMETRY__"
            environment[f"{prefix}OTLP_ENDPOINT"] = self.collector
            # Only calls that the caller traces.
            environment[f"{prefix}TRACE_SAMPLING_RATIO"] = "0"
        if state := read_state(self.data_dir):
            environment["KAIROS_TARGET"] = state.gateway
            environment["KAIROS_CONTROL_TARGET"] = state.control
        return environment


def eventually(what: str, limit_s: float, holds: Any) -> float:
    """Waits until `holds()` is true; returns the seconds that it took. Fails the test after `limit_s`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.Error:
        return str(process.pid)
