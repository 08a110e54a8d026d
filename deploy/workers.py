"""The workers of running Ray clusters, where KubeRay leaves them alone. It needs `kubectl` and access to the cluster.

    python -m deploy.workers limits OVERLAY                  # minReplicas and maxReplicas, into the running clusters
    python -m deploy.workers upgrade OVERLAY | kubectl apply -f -     # a new cluster starts as large as the old one

KubeRay compares a RayService with its Ray cluster without the numbers of workers (kuberay#4568): a changed
`minReplicas` or `maxReplicas` has no effect until the next upgrade. `limits` writes them into the Ray cluster itself,
where Ray's autoscaler reads them every few seconds. An upgrade starts with the RayService's numbers, however many
workers there are by then: `upgrade` prints the overlay with the present number, as `replicas` of the pods and as
`initial_replicas` of Serve.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.checks.build import BuildFailed, Object, built_folder, name_of


class ClusterFailed(Exception):
    """kubectl failed; the message is its own."""


def apply_limits(objects: list[Object]) -> Iterator[str]:
    """Sets the limits of each running cluster that has others. A line for each change. Raises ClusterFailed."""
    for service in (item for item in objects if item["kind"] == "RayService"):
        cluster = _running_cluster(service)
        if cluster is None:
            continue
        for number, wanted, present in _groups(service, cluster):
            limits = {name: wanted[name] for name in ("minReplicas", "maxReplicas") if wanted[name] != present[name]}
            if limits:
                path, name = f"/spec/workerGroupSpecs/{number}", cluster["metadata"]["name"]
                patch = [{"op": "test", "path": f"{path}/groupName", "value": wanted["groupName"]}]
                patch += [{"op": "replace", "path": f"{path}/{key}", "value": value} for key, value in limits.items()]
                _kubectl(service, "patch", "raycluster", name, "--type=json", f"--patch={json.dumps(patch)}")
                changes = ", ".join(f"{key} {present[key]} -> {value}" for key, value in limits.items())
                yield f"{name} {wanted['groupName']}: {changes}"


def at_present_size(objects: list[Object]) -> list[Object]:
    """The objects; a RayService whose cluster has more workers than it starts with gets the present number. Raises
    ClusterFailed.
    """
    return [_at_present_size(item) if item["kind"] == "RayService" else item for item in objects]


def _at_present_size(service: Object) -> Object:
    service, cluster = copy.deepcopy(service), _running_cluster(service)
    for _, wanted, present in _groups(service, cluster) if cluster else ():
        workers = min(present.get("replicas", 0), wanted["maxReplicas"])
        if workers > wanted["replicas"]:
            wanted["replicas"] = workers
            config = yaml.safe_load(service["spec"]["serveConfigV2"])
            for deployment in (d for application in config["applications"] for d in application["deployments"]):
                # One replica a worker. Serve keeps the number when the line is gone again.
                if scaling := deployment.get("autoscaling_config"):
                    scaling["initial_replicas"] = min(workers, scaling["max_replicas"])
            service["spec"]["serveConfigV2"] = yaml.safe_dump(config, sort_keys=False)
    return service


def _groups(service: Object, cluster: Object) -> Iterator[tuple[int, Object, Object]]:
    """(index in the cluster, the group as the overlay has it, the group as it runs) of each that both have."""
    wanted = {group["groupName"]: group for group in service["spec"]["rayClusterConfig"].get("workerGroupSpecs", [])}
    for number, present in enumerate(cluster["spec"].get("workerGroupSpecs", [])):
        if present["groupName"] in wanted:
            yield number, wanted[present["groupName"]], present


def _running_cluster(service: Object) -> Object | None:
    """The Ray cluster that serves; None before the first one does."""
    found = _kubectl(service, "get", "rayservice", service["metadata"]["name"], "--ignore-not-found", "-o", "json")
    status = json.loads(found or "{}").get("status", {})
    if not (name := status.get("activeServiceStatus", {}).get("rayClusterName")):
        print(f"{name_of(service)}: no cluster serves yet", file=sys.stderr)
        return None
    cluster: Object = json.loads(_kubectl(service, "get", "raycluster", name, "-o", "json"))
    return cluster


def _kubectl(service: Object, *words: str) -> str:
    command: list[Any] = ["kubectl", "--namespace", service["metadata"].get("namespace", "default"), *words]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if outcome.returncode != 0:
        raise ClusterFailed(outcome.stderr.strip())
    return outcome.stdout


def main(options: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.workers", description="The workers of running clusters.")
    parser.add_argument("what", choices=("limits", "upgrade"))
    parser.add_argument("overlay", type=Path, metavar="OVERLAY", help="a folder with a kustomization.yaml")
    arguments = parser.parse_args(options)
    try:
        objects = built_folder(arguments.overlay)
        if arguments.what == "upgrade":
            yaml.safe_dump_all(at_present_size(objects), sys.stdout, sort_keys=False)
        else:
            print("\n".join(apply_limits(objects)) or "all limits are as in the overlay")
    except (BuildFailed, ClusterFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
