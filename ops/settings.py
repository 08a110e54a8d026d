"""What the local suite is made of: folders, ports, sizes. Environment: KAIROS_SUITE_*."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings

LOOPBACK = "127.0.0.1"


class SuiteSettings(ServiceSettings):
    """A port of 0 means any free one. All of them are on loopback."""

    model_config = SettingsConfigDict(env_prefix="KAIROS_SUITE_")

    # State of all services, logs, and the file that says where the suite runs.
    data_dir: Path = Path("var")
    # Serve applications in the place of ops/serve.yaml, in its form.
    serve_config: Path | None = None
    gateway_port: int = Field(default=50050, ge=0, le=65535)
    metrics_port: int = Field(default=9464, ge=0, le=65535)
    # The ingress of the four Serve applications, and what comes with it.
    ingress_grpc_port: int = Field(default=9000, ge=0, le=65535)
    ingress_http_port: int = Field(default=8000, ge=0, le=65535)
    haproxy_metrics_port: int = Field(default=9101, ge=0, le=65535)
    haproxy_stats_port: int = Field(default=8404, ge=0, le=65535)
    # Logical CPUs offered to Ray; replicas ask for fractions of one.
    num_cpus: int = Field(default=4, ge=1)
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
        """The same with an absolute folder and every 0 replaced by a port that is free now."""
        ports = {name: value for name, value in self.model_dump().items() if name.endswith("_port")}
        chosen = dict(zip(ports, _free_ports(list(ports.values())), strict=True))
        return self.model_copy(update=chosen | {"data_dir": self.data_dir.resolve()})

    def busy_ports(self) -> dict[str, int]:
        """The chosen ports that somebody else listens on, by setting."""
        ports = {name: value for name, value in self.model_dump().items() if name.endswith("_port") and value}
        return {name: port for name, port in ports.items() if not _is_free(port)}


def _free_ports(wanted: list[int]) -> list[int]:
    """Each 0 replaced; all sockets are held until every port is chosen, so that no two are the same."""
    sockets: list[socket.socket] = []
    try:
        chosen = []
        for port in wanted:
            if port == 0:
                sockets.append(socket.create_server((LOOPBACK, 0)))
                port = sockets[-1].getsockname()[1]
            chosen.append(port)
        return chosen
    finally:
        for held in sockets:
            held.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
