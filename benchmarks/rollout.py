"""Errors, degraded answers and latency while the encoder is scaled and its model is changed and changed back.

    kubectl kustomize deploy/k8s/overlays/production > production.yaml
    python -m benchmarks.rollout --manifests production.yaml --out rollout.json

Starts the suite on this machine with the Serve configuration of the manifests (one replica an application), loads the
demo shop and searches it from several threads without a pause. Meanwhile `ops.rollout` changes the configuration in the
running cluster, as KubeRay does: the encoder from 1 to 2 replicas and back, then another model folder (equal weights,
so that answers can be compared) and back. Counts errors and degraded answers in each phase, and compares the answers to
twelve fixed queries with those before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.closed_load import BUDGET_S, Load, Phase
from benchmarks.manifests import read_objects, serve_applications
from demo.loading import load_products
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.control import start
from ops.hosting import ServeConfig
from ops.processes import suite_processes
from ops.rollout import roll_out
from ops.settings import SuiteSettings
from services.query_encoder.wiring import embedded_model_dir

ENCODER = "query_encoder"
QUERIES = (
    "waterproof hiking backpack under $150", "running shoes", "女士跑步鞋", "wireless headphones", "coffee maker",
    "garden chair", "blue cotton shirt", "dog food", "red lipstick", "kids puzzle", "办公椅", "usb c charger",
)  # fmt: skip
# CPUs of a replica: four replicas, and one that replaces another, fit on four CPUs.
_LOCAL_CPUS = 0.5


@dataclass(frozen=True)
class Measured:
    """One phase, with the seconds that its change took, the encoder's replicas after it, and whether answers agree."""

    phase: Phase
    took_s: float
    replicas: int
    same_answers: bool

    def document(self) -> dict[str, Any]:
        p50, p99 = (np.quantile(self.phase.seconds, (0.5, 0.99)) * 1e3).round(1).tolist()
        return {
            "phase": self.phase.name, "took_s": round(self.took_s, 1), "answers": len(self.phase.seconds),
            "errors": dict(self.phase.errors), "degradations": dict(self.phase.degradations),
            "p50_ms": p50, "p99_ms": p99, "encoder_replicas": self.replicas, "same_answers": self.same_answers,
        }  # fmt: skip


def local_config(manifests: Path) -> ServeConfig:
    """The applications of the manifests with one replica each, small enough for one machine."""
    applications = list(serve_applications(read_objects(manifests)))
    for application in applications:
        for deployment in application["deployments"]:
            deployment.pop("autoscaling_config", None)
            deployment["num_replicas"] = 1
            deployment["ray_actor_options"]["num_cpus"] = _LOCAL_CPUS
    return ServeConfig.model_validate({"applications": applications})


def changed(config: ServeConfig, replicas: int, model_dir: Path) -> ServeConfig:
    """`config` with that many replicas of the encoder, which serve the model in `model_dir`."""
    result = config.model_copy(deep=True)
    (application,) = (application for application in result.applications if application.name == ENCODER)
    application.deployments[0].num_replicas = replicas
    application.args["model_dir"] = str(model_dir)
    return result


def first_pages(connection: Connection) -> list[list[str]]:
    """Product ids of the first page of every query, for an unknown shopper."""
    with connection.stub() as stub:
        found = [stub.Search(gateway_pb2.SearchRequest(query=query), timeout=BUDGET_S) for query in QUERIES]
    return [[result.product.id for result in answer.results] for answer in found]


def measure(manifests: Path, folder: Path, threads: int, rest_s: float) -> list[Measured]:
    config, file = local_config(manifests), folder / "serve.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(exclude_none=True)))
    settings = SuiteSettings.on_free_ports(folder / "suite", serve_config=file).resolved()
    one, other = folder / "model-1", folder / "model-2"
    for model in (one, other):
        shutil.copytree(embedded_model_dir(), model)
    os.environ.setdefault("KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR", str(Path("var/models").resolve()))
    supervisor, state = start(settings)
    try:
        connection = Connection(state.gateway)
        load_products(connection, folder)
        roll_out(settings, changed(config, 1, one))
        expected = first_pages(connection)
        measured = []
        with Load(connection, threads, QUERIES) as load:
            time.sleep(rest_s)  # connections are made, caches are filled
            for name, replicas, model in (
                ("unchanged", 1, one), ("1 to 2 replicas", 2, one), ("2 to 1 replicas", 1, one),
                ("another model", 1, other), ("the model before", 1, one),
            ):  # fmt: skip
                phase = Phase(name)
                load.enter(phase)
                took_s = 0.0 if name == "unchanged" else roll_out(settings, changed(config, replicas, model))
                # The old replicas drain, and the new ones serve.
                time.sleep(rest_s)
                running = sum(process.name == ENCODER for process in suite_processes(settings.data_dir))
                measured.append(Measured(phase, took_s, running, first_pages(connection) == expected))
        return measured
    finally:
        supervisor.terminate()
        supervisor.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifests", type=Path, required=True, help="the YAML of a built overlay")
    parser.add_argument("--out", type=Path, default=Path("rollout.json"))
    parser.add_argument("--threads", type=int, default=4, help="that search without a pause")
    parser.add_argument("--rest-s", type=float, default=10.0, help="seconds of load after each change")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        measured = measure(arguments.manifests, Path(folder), arguments.threads, arguments.rest_s)
    rows = [one.document() for one in measured]
    arguments.out.write_text(json.dumps(rows, indent=2))
    table = Table("phase", "took s", "answers", "errors", "degraded", "p50 ms", "p99 ms", "replicas", "same answers")
    for row in rows:
        table.add_row(
            row["phase"], str(row["took_s"]), str(row["answers"]), str(row["errors"] or 0),
            str(row["degradations"] or 0), str(row["p50_ms"]), str(row["p99_ms"]), str(row["encoder_replicas"]),
            "yes" if row["same_answers"] else "no",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
