"""What callers notice while the encoder is scaled, gets another model, and gets the old one back.

    python -m benchmarks.rollout --out rollout.json

Starts the suite with the Serve configuration of the manifests (deploy/k8s, overlay production), loads the demo shop and
searches it from several threads all the time. Meanwhile the configuration is changed in the running cluster, as
KubeRay does it: the encoder from 1 to 2 replicas and back, then another model folder (same weights, so that answers can
be compared) and back. Counts what failed and what was given up, and compares the answers to fixed queries after each
change.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from demo.catalogue import write_catalogue
from deploy.checks.build import built
from deploy.checks.local import local_applications
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.control import start
from ops.hosting import ServeConfig, hosting_environment
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from services.query_encoder.wiring import embedded_model_dir

ENCODER = "query_encoder"
QUERIES = (
    "waterproof hiking backpack under $150", "running shoes", "女士跑步鞋", "wireless headphones", "coffee maker",
    "garden chair", "blue cotton shirt", "dog food", "red lipstick", "kids puzzle", "办公椅", "usb c charger",
)  # fmt: skip
# A budget with room: a late answer would tell of the machine, not of the change.
_BUDGET_S = 2.0
_CHANGE_LIMIT_S = 180.0


@dataclass
class Phase:
    """What the threads saw between two changes: seconds of each answer, and what was wrong with some."""

    name: str
    took_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    degradations: Counter[str] = field(default_factory=Counter)
    replicas: tuple[int, ...] = ()
    same_answers: bool = True

    def document(self) -> dict[str, Any]:
        p50, p99 = (np.quantile(self.seconds, (0.5, 0.99)) * 1e3).round(1).tolist()
        return {
            "phase": self.name, "took_s": round(self.took_s, 1), "answers": len(self.seconds),
            "errors": dict(self.errors), "degradations": dict(self.degradations), "p50_ms": p50, "p99_ms": p99,
            "encoder_replicas": len(self.replicas), "same_answers": self.same_answers,
        }  # fmt: skip


class Load:
    """Threads that search without a pause; what they see goes to the phase that is current when an answer comes.

    They take the queries in turns; without `users` each is a shopper of its own.
    """

    def __init__(
        self, connection: Connection, threads: int, queries: Sequence[str] = QUERIES, users: Sequence[str] = ()
    ) -> None:
        self._connection, self._stop = connection, threading.Event()
        self._queries, self._users = queries, users or [f"load-{number}" for number in range(threads)]
        self._lock, self.phase = threading.Lock(), Phase("before")
        self._threads = [threading.Thread(target=self._search, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def enter(self, phase: Phase) -> None:
        with self._lock:
            self.phase = phase

    def _search(self, number: int) -> None:
        with self._connection.stub() as stub:
            turn = number
            while not self._stop.is_set():
                turn += len(self._threads)
                began = time.monotonic()
                request = gateway_pb2.SearchRequest(
                    query=self._queries[turn % len(self._queries)], user_id=self._users[turn % len(self._users)]
                )
                error, given_up = "", []
                try:
                    answer = stub.Search(request, timeout=_BUDGET_S)
                    given_up = [_name(degradation) for degradation in answer.degradations]
                except grpc.RpcError as failure:
                    error = failure.code().name
                with self._lock:
                    self.phase.seconds.append(time.monotonic() - began)
                    self.phase.errors.update([error] if error else [])
                    self.phase.degradations.update(given_up)


class Cluster:
    """The running suite, and the Serve configuration that it was given last, which is kept in `file`."""

    def __init__(self, settings: SuiteSettings, config: ServeConfig, file: Path) -> None:
        self._settings, self._config, self._file = settings, config, file

    def change(self, replicas: int, model_dir: Path | None = None) -> float:
        """Seconds until the encoder was as asked for. Raises CalledProcessError when it does not get there."""
        (application,) = (a for a in self._config.applications if a.name == ENCODER)
        (deployment,) = application.deployments
        deployment.num_replicas = replicas
        if model_dir:
            application.args["model_dir"] = str(model_dir)
        self.write()
        began = time.monotonic()
        # A process of its own: Serve fixes its flags when it is imported.
        subprocess.run(
            [sys.executable, "-m", "benchmarks.rollout", "--apply", str(self._file), str(replicas)],
            env={**os.environ, **hosting_environment(self._settings)}, check=True, timeout=_CHANGE_LIMIT_S,
        )  # fmt: skip
        return time.monotonic() - began

    def write(self) -> None:
        self._file.write_text(yaml.safe_dump(self._config.model_dump(exclude_none=True)))

    def replicas(self) -> tuple[int, ...]:
        """Process ids of the encoder's replicas."""
        return tuple(sorted(p.pid for p in suite_processes(self._settings.data_dir) if p.name == ENCODER))


def apply(file: Path, replicas: int) -> None:
    """In the running cluster: deploy, and wait until exactly `replicas` of the encoder run and all of them are new."""
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    ray.init(address="auto", namespace="serve", log_to_driver=False, configure_logging=False)
    client: Any = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate(yaml.safe_load(file.read_text())))
    time.sleep(1)  # the controller has taken it up by then
    while True:
        application = serve.status().applications[ENCODER]
        states = application.deployments[ENCODER].replica_states if application.deployments else {}
        if application.status == "RUNNING" and {str(s): n for s, n in states.items()} == {"RUNNING": replicas}:
            return
        if application.status == "DEPLOY_FAILED":
            raise SystemExit(application.message)
        time.sleep(0.2)


def answers(connection: Connection) -> list[list[str]]:
    """Product ids of the first page of every query, for nobody in particular."""
    with connection.stub() as stub:
        found = [stub.Search(gateway_pb2.SearchRequest(query=query), timeout=_BUDGET_S) for query in QUERIES]
    return [[result.product.id for result in answer.results] for answer in found]


def measure(folder: Path, threads: int, rest_s: float) -> list[Phase]:
    settings = SuiteSettings(
        data_dir=folder / "suite",
        serve_config=folder / "serve.yaml",
        **{name: 0 for name in SuiteSettings.model_fields if name.endswith("_port")},  # type: ignore[arg-type]
    ).resolved()
    one, other = folder / "model-1", folder / "model-2"
    for model in (one, other):
        shutil.copytree(embedded_model_dir(), model)
    cluster = Cluster(
        settings, ServeConfig(applications=local_applications(built("production"))), folder / "serve.yaml"
    )
    cluster.write()
    os.environ.setdefault("KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR", str(Path("var/models").resolve()))
    supervisor, state = start(settings)
    try:
        connection = Connection(state.gateway)
        _load_demo_shop(connection, folder)
        cluster.change(1, one)
        expected = answers(connection)
        phases = []
        with Load(connection, threads) as load:
            time.sleep(rest_s)  # connections are made, caches are filled
            for name, replicas, model in (
                ("unchanged", 1, one), ("1 to 2 replicas", 2, one), ("2 to 1 replicas", 1, one),
                ("another model", 1, other), ("the model before", 1, one),
            ):  # fmt: skip
                phase = Phase(name)
                load.enter(phase)
                if name != "unchanged":
                    phase.took_s = cluster.change(replicas, model)
                # The old replicas drain, and the new ones serve.
                time.sleep(rest_s)
                phase.replicas = cluster.replicas()
                phase.same_answers = answers(connection) == expected
                phases.append(phase)
        return phases
    finally:
        supervisor.terminate()
        supervisor.wait()


def _load_demo_shop(connection: Connection, folder: Path) -> None:
    file = folder / "demo.jsonl.gz"
    write_catalogue(file)
    CatalogImport(connection, parse_mapping("", None, "USD"), Rejects(folder / "rejects.jsonl")).run(file)


def _name(degradation: common_pb2.Degradation) -> str:
    stage = common_pb2.Stage.Name(degradation.stage).removeprefix("STAGE_").lower()
    return (
        f"{stage} {common_pb2.DegradationReason.Name(degradation.reason).removeprefix('DEGRADATION_REASON_').lower()}"
    )


def _print(phases: list[Phase]) -> None:
    table = Table("phase", "took s", "answers", "errors", "given up", "p50 ms", "p99 ms", "replicas", "same answers")
    for row in (phase.document() for phase in phases):
        table.add_row(
            row["phase"], str(row["took_s"]), str(row["answers"]), str(row["errors"] or 0),
            str(row["degradations"] or 0), str(row["p50_ms"]), str(row["p99_ms"]), str(row["encoder_replicas"]),
            "yes" if row["same_answers"] else "no",
        )  # fmt: skip
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("rollout.json"))
    parser.add_argument("--threads", type=int, default=4, help="that search all the time")
    parser.add_argument("--rest-s", type=float, default=10.0, help="of load after each change")
    parser.add_argument("--apply", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.apply:
        apply(Path(arguments.apply[0]), int(arguments.apply[1]))
        return
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        phases = measure(Path(folder), arguments.threads, arguments.rest_s)
    arguments.out.write_text(json.dumps([phase.document() for phase in phases], indent=2))
    _print(phases)


if __name__ == "__main__":
    main()
