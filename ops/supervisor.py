"""The supervisor: starts control, the host process of Serve, the gateway, the price publisher, the watch of
experiments, and the learner and the biller if they are enabled, and restarts each of them when it ends.

`python -m ops.supervisor` runs until SIGTERM or SIGINT. It then ends them, and all processes that they left behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil
import structlog

from ops.hosting import ASSISTANT, SPONSORED, STAGES, haproxy_folder, hosting_environment, runs
from ops.processes import end, end_all, marker_of, suite_members
from ops.settings import LOOPBACK, SuiteSettings
from ops.state import SuiteState, create_stage_secret, remove_state, replica_file, stage_secret_file, write_state
from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry

_POLL_S = 0.2
_STOP_GRACE_S = 30.0
# A child that has run for so long is healthy: its back-off is short again.
_HEALTHY_AFTER_S = 30.0
_MIN_BACKOFF_S = 0.5
_MAX_BACKOFF_S = 10.0
# How often the descendants of a child are listed.
_DESCENDANTS_PERIOD_S = 2.0
# Services that call control.
_OF_CONTROL = ("GATEWAY", "PRICING", "PRICE_PUBLISHER", "SPONSORED", "BILLER")

_log = structlog.get_logger("kairos.supervisor")


@dataclass
class Child:
    """A supervised process. Its output goes to a log file.

    `descendants` are its child processes and theirs. They are ended together with it: when their host is killed, Ray's
    agents keep running for a minute and keep their ports, and it is then unknown which suite they belong to.
    """

    name: str
    command: list[str]
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_at_s: float = 0.0
    backoff_s: float = _MIN_BACKOFF_S
    descendants: set[psutil.Process] = field(default_factory=set)
    _listed_s: float = 0.0

    def keep_running(self, environment: Mapping[str, str]) -> None:
        """Starts the process if it does not run and its back-off is over."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                self._list_descendants(now)
                return
            if now - self.started_s > _HEALTHY_AFTER_S:
                self.backoff_s = _MIN_BACKOFF_S
            _log.warning("ended", child=self.name, exit_code=code, restart_in_s=self.backoff_s)
            self.process, self.restart_at_s = None, now + self.backoff_s
            self.backoff_s = min(2 * self.backoff_s, _MAX_BACKOFF_S)
            end(self.descendants, grace_s=1.0)
            self.descendants.clear()
        if now < self.restart_at_s:
            return
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=dict(environment), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal then reaches only the supervisor
            )  # fmt: skip
        self.started_s = now
        _log.info("started", child=self.name, pid=self.process.pid)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _list_descendants(self, now: float) -> None:
        if self.process is None or now - self._listed_s < _DESCENDANTS_PERIOD_S:
            return
        self._listed_s = now
        with contextlib.suppress(psutil.Error):
            self.descendants.update(psutil.Process(self.process.pid).children(recursive=True))
        self.descendants = {process for process in self.descendants if process.is_running()}


def main() -> int:
    settings = load_settings(SuiteSettings).resolved()
    configure_telemetry("supervisor", settings.telemetry)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    supervise(settings, stop)
    return 0


def supervise(settings: SuiteSettings, stop: threading.Event) -> None:
    """Runs the suite until `stop`. The suite has ended when this returns."""
    logs = settings.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "run").mkdir(exist_ok=True)
    create_stage_secret(stage_secret_file(settings))
    environment = suite_environment(settings)
    gateway = Child("gateway", [sys.executable, "-m", "services.gateway"], logs / "gateway.log")
    publisher = Child("price publisher", [sys.executable, "-m", "services.pricing"], logs / "price_publisher.log")
    learner = Child("learner", [sys.executable, "-m", "services.learner"], logs / "learner.log")
    host = Child("serve host", [sys.executable, "-m", "ops.host"], logs / "serve.log")
    biller = Child("biller", [sys.executable, "-m", "services.sponsored"], logs / "biller.log")
    control = Child("control", [sys.executable, "-m", "services.control"], logs / "control.log")
    experiments = Child("experiments", [sys.executable, "-m", "experiments"], logs / "experiments.log")
    # In the order in which they start; they stop in the opposite order.
    optional = {biller.name: runs(settings, SPONSORED), learner.name: settings.learner}
    all_of_them = (control, host, gateway, publisher, experiments, biller, learner)
    children = [one for one in all_of_them if optional.get(one.name, True)]
    write_state(settings, SuiteState.of(settings, os.getpid()))
    try:
        while not stop.is_set():
            for child in children:
                child.keep_running(environment)
            stop.wait(_POLL_S)
    finally:
        members = {*suite_members(settings.data_dir), *(one for child in children for one in child.descendants)}
        for child in reversed(children):
            child.stop()
        end_all(settings.data_dir, members)
        shutil.rmtree(haproxy_folder(settings), ignore_errors=True)
        remove_state(settings.data_dir)


def suite_environment(settings: SuiteSettings) -> dict[str, str]:
    """The environment of every process of the suite. Variables that are set already override the ones chosen here."""
    ingress = f"{LOOPBACK}:{settings.ingress_grpc_port}"
    targets = dict.fromkeys(STAGES, ingress)
    # The gateway does not call what does not run.
    targets |= {name: "" for name in (SPONSORED, ASSISTANT) if not runs(settings, name)}
    # The learned models of all services are in the ranker's registry.
    ranker = Path(os.environ.get("KAIROS_RANKER_DATA_DIR", str(settings.data_dir / "ranker")))
    registry = {
        "DIR": os.environ.get("KAIROS_RANKER_REGISTRY_DIR", str(ranker / "models")),
        "URL": os.environ.get("KAIROS_RANKER_REGISTRY_URL", ""),
    }
    own = {
        **hosting_environment(settings),
        **{f"KAIROS_QUERY_ENCODER_REGISTRY_{name}": value for name, value in registry.items()},
        **{f"KAIROS_RETRIEVAL_REGISTRY_{name}": value for name, value in registry.items()},
        **{
            f"KAIROS_{stage.upper()}_DATA_DIR": str(settings.data_dir / stage)
            for stage in STAGES
            if stage not in (SPONSORED, ASSISTANT)
        },
        "KAIROS_ASSISTANT_GATEWAY__TARGET": f"{LOOPBACK}:{settings.gateway_port}",
        "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR": str(settings.data_dir / "models"),
        "KAIROS_GATEWAY_SERVER__PORT": str(settings.gateway_port),
        "KAIROS_GATEWAY_METRICS__PORT": str(settings.metrics_port),
        **{f"KAIROS_GATEWAY_STAGES__{stage.upper()}__TARGET": target for stage, target in targets.items()},
        "KAIROS_PRICE_PUBLISHER_DATA_DIR": str(settings.data_dir / "price_publisher"),
        "KAIROS_PRICE_PUBLISHER_GATEWAY__TARGET": f"{LOOPBACK}:{settings.gateway_port}",
        "KAIROS_PRICE_PUBLISHER_METRICS__PORT": str(settings.publisher_metrics_port),
        "KAIROS_BILLER_DATA_DIR": str(settings.data_dir / "biller"),
        "KAIROS_BILLER_GATEWAY__TARGET": f"{LOOPBACK}:{settings.gateway_port}",
        "KAIROS_BILLER_METRICS__PORT": str(settings.biller_metrics_port),
        "KAIROS_BILLER_CONTROL__FOLDER": str(settings.data_dir / "biller" / "published"),
        "KAIROS_EXPERIMENTS_DATA_DIR": str(settings.data_dir / "experiments"),
        "KAIROS_EXPERIMENTS_GATEWAY__TARGET": f"{LOOPBACK}:{settings.gateway_port}",
        "KAIROS_EXPERIMENTS_CONTROL__TARGET": f"{LOOPBACK}:{settings.control_port}",
        "KAIROS_LEARNER_DATA_DIR": str(settings.data_dir / "learner"),
        "KAIROS_LEARNER_GATEWAY__TARGET": f"{LOOPBACK}:{settings.gateway_port}",
        "KAIROS_LEARNER_METRICS__PORT": str(settings.learner_metrics_port),
        "KAIROS_CONTROL_DATA_DIR": str(settings.data_dir / "control"),
        "KAIROS_CONTROL_SERVER__PORT": str(settings.control_port),
        "KAIROS_CONTROL_METRICS__PORT": str(settings.control_metrics_port),
        "KAIROS_GATEWAY_CONTROL__FOLDER": str(settings.data_dir / "published"),
        **{f"KAIROS_{service}_CONTROL__TARGET": f"{LOOPBACK}:{settings.control_port}" for service in _OF_CONTROL},
        "KAIROS_PRICING_CONTROL__FOLDER": str(settings.data_dir / "pricing" / "published"),
        "KAIROS_SPONSORED_CONTROL__FOLDER": str(settings.data_dir / SPONSORED / "published"),
        "KAIROS_PRICE_PUBLISHER_CONTROL__FOLDER": str(settings.data_dir / "price_publisher" / "published"),
        "KAIROS_GATEWAY_REPLICAS_FILE": str(replica_file(settings)),
        "KAIROS_STAGE_ACCESS_SECRET_FILE": str(stage_secret_file(settings)),
    }
    return {**own, **os.environ, **marker_of(settings.data_dir), **settings.environment()}


if __name__ == "__main__":
    sys.exit(main())
