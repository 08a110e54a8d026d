"""Files of a suite: the addresses while it runs, `<data_dir>/run/suite.json`, and the secret of its stage calls,
`<data_dir>/stage-secret`, and the ports of the replicas, `<data_dir>/run/replicas.json`.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psutil
from pydantic import BaseModel

from ops.settings import LOOPBACK, SuiteSettings


class SuiteState(BaseModel):
    """A running suite: the process of its supervisor, and its addresses."""

    supervisor_pid: int
    gateway: str
    metrics: str
    ingress: str
    control: str

    @classmethod
    def of(cls, settings: SuiteSettings, supervisor_pid: int) -> SuiteState:
        return cls(
            supervisor_pid=supervisor_pid,
            gateway=f"{LOOPBACK}:{settings.gateway_port}",
            metrics=f"http://{LOOPBACK}:{settings.metrics_port}/metrics",
            ingress=f"{LOOPBACK}:{settings.ingress_grpc_port}",
            control=f"{LOOPBACK}:{settings.control_port}",
        )

    def is_alive(self) -> bool:
        try:
            return "ops.supervisor" in " ".join(psutil.Process(self.supervisor_pid).cmdline())
        except psutil.Error:
            return False


def write_state(settings: SuiteSettings, state: SuiteState) -> None:
    path = _path(settings.data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(state.model_dump_json(indent=2))


def read_state(data_dir: Path) -> SuiteState | None:
    """The running suite in `data_dir`; None if there is none. The file of a killed supervisor is ignored."""
    path = _path(data_dir)
    if not path.is_file():
        return None
    state = SuiteState.model_validate_json(path.read_text())
    return state if state.is_alive() else None


def remove_state(data_dir: Path) -> None:
    _path(data_dir).unlink(missing_ok=True)


def stage_secret_file(settings: SuiteSettings) -> Path:
    return settings.data_dir / "stage-secret"


def replica_file(settings: SuiteSettings) -> Path:
    """Written by the host process, read by the gateway."""
    return settings.data_dir / "run" / "replicas.json"


def create_stage_secret(path: Path) -> None:
    """Writes a random secret that only this user can read, unless there is one."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(file, "w", encoding="ascii") as opened:
        opened.write(f"{secrets.token_urlsafe(32)}\n")


def _path(data_dir: Path) -> Path:
    return data_dir / "run" / "suite.json"
