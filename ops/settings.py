"""Settings of the suite on this machine: KAIROS_SUITE_*."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings

LOOPBACK = "127.0.0.1"
# Ports to choose from. The kernel gives those from 32,768 on to connections and to servers that ask for any port, maybe
# before the suite has started. Ray takes 10,002 to 19,999 for its workers, and Serve 30,000 to 31,000.
_CHOSEN_FROM = range(20_000, 30_000)


class SuiteSettings(ServiceSettings):
    """All ports are on loopback. A port of 0 means any free port."""

    model_config = SettingsConfigDict(env_prefix="KAIROS_SUITE_")

    # Folder with the state of all services, the logs, and the file with the addresses of the running suite.
    data_dir: Path = Path("var")
    # File with the Serve applications, in the form of ops/serve.yaml. None: ops/serve.yaml.
    serve_config: Path | None = None
    # Port of the gateway.
    gateway_port: int = Field(default=50050, ge=0, le=65535)
    # Port of the gateway's metrics.
    metrics_port: int = Field(default=9464, ge=0, le=65535)
    # Port of the price publisher's metrics.
    publisher_metrics_port: int = Field(default=9466, ge=0, le=65535)
    # Port of the learner's metrics.
    learner_metrics_port: int = Field(default=9465, ge=0, le=65535)
    # Whether the learner runs beside the stages.
    learner: bool = True
    # Whether there are sponsored places. Their application and the biller take some 300 MB.
    sponsored: bool = True
    # Whether there is an assistant. It takes some 250 MB.
    assistant: bool = True
    # Port of the biller's metrics.
    biller_metrics_port: int = Field(default=9468, ge=0, le=65535)
    # Ports of control, and of its metrics.
    control_port: int = Field(default=50060, ge=0, le=65535)
    control_metrics_port: int = Field(default=9467, ge=0, le=65535)
    # Ports of the ingress of the Serve applications.
    ingress_grpc_port: int = Field(default=9000, ge=0, le=65535)
    ingress_http_port: int = Field(default=8000, ge=0, le=65535)
    haproxy_metrics_port: int = Field(default=9101, ge=0, le=65535)
    haproxy_stats_port: int = Field(default=8404, ge=0, le=65535)
    # Logical CPUs that Ray may give to replicas. Each asks for half of one, and a rollout brings a successor of each.
    num_cpus: int = Field(default=6, ge=1)
    # Size of Ray's object store in MiB.
    object_store_mb: int = Field(default=100, ge=80)

    @classmethod
    def on_free_ports(cls, data_dir: Path, **more: Any) -> Self:
        """Every port is 0; `more` sets the other fields. So several suites can run on one machine."""
        ports: dict[str, Any] = {name: 0 for name in cls.model_fields if name.endswith("_port")}
        return cls(data_dir=data_dir, **ports, **more)

    def environment(self) -> dict[str, str]:
        """The KAIROS_SUITE_* variables that give a started process these settings, except those of telemetry."""
        values = self.model_dump(exclude={"telemetry"}, exclude_none=True)
        return {f"KAIROS_SUITE_{name.upper()}": str(value) for name, value in values.items()}

    def resolved(self) -> SuiteSettings:
        """The same settings with an absolute folder, and with free ports instead of 0."""
        ports = {name: value for name, value in self.model_dump().items() if name.endswith("_port")}
        chosen = dict(zip(ports, _free_ports(list(ports.values())), strict=True))
        return self.model_copy(update=chosen | {"data_dir": self.data_dir.resolve()})

    def busy_ports(self) -> dict[str, int]:
        """The ports that another process listens on, by setting."""
        ports = {name: value for name, value in self.model_dump().items() if name.endswith("_port") and value}
        return {name: port for name, port in ports.items() if not _is_free(port)}


def _free_ports(wanted: list[int]) -> list[int]:
    """The ports with every 0 replaced, no two the same. By chance: suites that start at the same time seldom meet."""
    candidates = iter(random.SystemRandom().sample(_CHOSEN_FROM, len(_CHOSEN_FROM)))
    free = (port for port in candidates if port not in wanted and _is_free(port))
    return [port or next(free) for port in wanted]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
