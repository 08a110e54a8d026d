"""Finds and ends the processes of a suite, and reads their memory and CPU time.

A suite marks its processes with an environment variable. Their child processes belong to the suite too: Ray removes the
variable from the environment of some of them.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

MARKER = "KAIROS_SUITE_MARKER"
_REPLICA = re.compile(r"ray::ServeReplica:(?P<application>[\w-]+)")
_RAY_WORKER = re.compile(r"ray::(?P<actor>[\w:.-]+)")
_KINDS = (
    ("ops.supervisor", "supervisor"),
    ("ops.host", "serve host"),
    ("services.gateway", "gateway"),
    ("services.control", "control"),
    ("services.pricing", "price publisher"),
    ("services.sponsored", "biller"),
    ("services.learner", "learner"),
    ("-m experiments", "experiments"),
    ("gcs_server", "ray gcs"),
    ("raylet/raylet", "ray raylet"),
    ("runtime_env/agent", "ray runtime env agent"),
    ("runtime_env_agent", "ray runtime env agent"),
    ("dashboard/agent", "ray agent"),
    ("dashboard_agent", "ray agent"),
    ("dashboard", "ray dashboard"),
    ("log_monitor", "ray log monitor"),
    ("monitor.py", "ray monitor"),
    ("haproxy", "haproxy"),
)


@dataclass(frozen=True)
class SuiteProcess:
    """One process. The resident memory includes pages that are shared with other processes."""

    pid: int
    name: str
    resident_bytes: int
    cpu_seconds: float


def marker_of(data_dir: Path) -> dict[str, str]:
    """The environment variable that marks the processes of the suite in `data_dir`."""
    return {MARKER: str(data_dir.resolve())}


def suite_processes(data_dir: Path) -> list[SuiteProcess]:
    """All running processes of the suite in `data_dir`, the largest first."""
    found = []
    for process in _members(data_dir):
        try:
            with process.oneshot():
                times = process.cpu_times()
                found.append(
                    SuiteProcess(process.pid, _name(process), process.memory_info().rss, times.user + times.system)
                )
        except psutil.Error:  # the process has ended
            continue
    return sorted(found, key=lambda process: -process.resident_bytes)


def suite_members(data_dir: Path) -> list[psutil.Process]:
    """The processes of the suite, to be passed to `end_all` later: orphans of Ray can then not be found any more."""
    return _members(data_dir)


def end_all(data_dir: Path, known: Iterable[psutil.Process] = (), grace_s: float = 5.0) -> int:
    """Ends all processes of the suite in `data_dir` and those of `known`. Returns their number. See `end`."""
    living = {process.pid: process for process in known if process.is_running()}
    living |= {process.pid: process for process in _members(data_dir)}
    members = [process for process in living.values() if process.pid != os.getpid()]
    end(members, grace_s)
    return len(members)


def end(processes: Iterable[psutil.Process], grace_s: float = 5.0) -> None:
    """Sends SIGTERM, after `grace_s` seconds SIGKILL, and waits until the processes have ended."""
    living = [process for process in processes if process.is_running()]
    for process in living:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(living, timeout=grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace_s)


def _members(data_dir: Path) -> list[psutil.Process]:
    marked, marker = {}, str(data_dir.resolve())
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker:
                marked[process.pid] = process
        except psutil.Error:
            continue
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in list(marked.values()):
        try:
            for child in process.children(recursive=True):
                marked.setdefault(child.pid, child)
        except psutil.Error:
            continue
    return [
        process for pid, process in marked.items() if pid not in own or "ops.supervisor" in " ".join(_command(process))
    ]


def _name(process: psutil.Process) -> str:
    command = " ".join(_command(process))
    if replica := _REPLICA.search(command):
        return replica["application"]
    if worker := _RAY_WORKER.search(command):
        return f"ray {worker['actor'].split(':')[-1].split('.')[0]}"
    return next((kind for pattern, kind in _KINDS if pattern in command), process.name())


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
