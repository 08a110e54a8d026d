"""A RayService's cluster: what Serve and `ray start` are told, against the pods and the Ray that is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from deploy.checks.build import Object
from deploy.checks.serve_config import ManifestServeConfig
from deploy.checks.words import quantity

# What one machine and a cluster have alike (ops/hosting.py), and a place for what has no folder of its own.
_MEASURED_FLAGS = {
    "RAY_worker_niceness", "RAY_USAGE_STATS_ENABLED", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM",
    "RAY_SERVE_HAPROXY_NBTHREAD", "RAY_SERVE_HAPROXY_METRICS_ENABLED", "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "HOME",
}  # fmt: skip
# Without one of them on every node, calls go through Serve's own Python proxy, or worker pods are never ready.
_NEEDED_FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}


def fitting_problems(config: ManifestServeConfig, cluster: Object) -> Iterator[str]:
    """Ports and CPUs of the pods against what Serve is told."""
    deployments = [deployment for application in config.applications for deployment in application.deployments]
    for role, template in templates(cluster):
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0].get("ports", [])}
        for port, number in (("serve", config.http_options.port), ("serve-grpc", config.grpc_options.port)):
            if ports.get(port) != number:
                yield f"{role}: port {port} is {ports.get(port)}, Serve listens on {number}"
        if cluster["autoscalerOptions"]["version"] == "v2" and template["spec"].get("restartPolicy") != "Never":
            yield f"{role}: restartPolicy must be Never, or the autoscaler v2 loses track of its pods"
        patience = template["spec"].get("terminationGracePeriodSeconds", 30)
        if any(deployment.graceful_shutdown_timeout_s >= patience for deployment in deployments):
            yield f"{role}: is killed after {patience} s, before its replicas have ended"
    for deployment in deployments:
        scaling = deployment.autoscaling_config
        if scaling is not None and scaling.min_replicas > scaling.max_replicas:
            yield f"{deployment.name}: min_replicas is above max_replicas"
        if (scaling is None) == (deployment.num_replicas is None):
            yield f"{deployment.name}: sets one of num_replicas and autoscaling_config"
    for group in cluster["workerGroupSpecs"]:
        name, cpus = group["groupName"], _cpus(group)
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{name}: replicas is not between minReplicas and maxReplicas"
        for kind, pods in (("min", group["minReplicas"]), ("max", group["maxReplicas"])):
            wanted = sum(
                deployment.ray_actor_options.num_cpus
                * (
                    getattr(deployment.autoscaling_config, f"{kind}_replicas")
                    if deployment.autoscaling_config
                    else deployment.num_replicas or 1
                )
                for deployment in deployments
            )
            if wanted > pods * cpus:
                yield f"{name}: {kind}imal replicas need {wanted:g} CPUs, its pods have {pods * cpus:g}"


def ray_problems(cluster: Object) -> Iterator[str]:
    """What `ray start` is told, against the Ray that is installed and the pods that it runs in."""
    if cluster["rayVersion"] != version("ray"):
        yield f"rayVersion is {cluster['rayVersion']}, the images have {version('ray')}"
    head = cluster["headGroupSpec"]
    for role, group in (("head", head), *((group["groupName"], group) for group in cluster["workerGroupSpecs"])):
        parameters, resources = group["rayStartParams"], group["template"]["spec"]["containers"][0]["resources"]
        for parameter, value in parameters.items():
            if parameter not in _start_options():
                yield f"{role}: `ray start` has no --{parameter}"
            elif parameter != "dashboard-host" and not value.isdecimal():
                yield f"{role}: {parameter} is {value}, and is a number"
        if (cpus := _cpus(group)) > quantity(resources["requests"].get("cpu", 0)):
            yield f"{role}: Ray is told of {cpus} CPUs, the pod asks for {resources['requests'].get('cpu', 'none')}"
        if parameters.get("num-gpus", "0") != resources.get("limits", {}).get("nvidia.com/gpu", "0"):
            yield f"{role}: num-gpus is not what the pod asks for"
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode must be token: who reaches Ray's ports runs code"
    if head["rayStartParams"].get("num-cpus") != "0":
        yield "head: num-cpus must be 0, or replicas go where there is no room for them"
    if head["rayStartParams"].get("dashboard-host") != "0.0.0.0":
        yield "head: dashboard-host must be 0.0.0.0, or KubeRay does not reach it"


def _cpus(group: Object) -> float:
    cpus = group["rayStartParams"].get("num-cpus", "0")
    return float(cpus) if cpus.isdecimal() else 0.0


@cache
def _start_options() -> frozenset[str]:
    """Of `ray start`, from the source of the Ray that is installed."""
    return frozenset(re.findall(r'"--([a-z-]+)"', (_ray_folder() / "scripts" / "scripts.py").read_text()))


def templates(cluster: Object) -> Iterator[tuple[str, Object]]:
    yield "head", cluster["headGroupSpec"]["template"]
    yield from ((group["groupName"], group["template"]) for group in cluster["workerGroupSpecs"])


def flag_problems(variables: Mapping[str, str | None]) -> Iterator[str]:
    for flag, value in _NEEDED_FLAGS.items():
        if variables.get(flag) != value:
            yield f"{flag} is {variables.get(flag)}, and must be {value} on every node"
    for name, number in variables.items():
        if name.startswith(("RAY_", "OMP_")) and not (number or "").isdecimal():
            yield f"{name} is {number}, and is a number"
    for flag in _MEASURED_FLAGS - variables.keys():
        yield f"{flag} is not set, and the suite was measured with it"
    known = _serve_flags()
    for name in variables:
        if name.startswith("RAY_SERVE_") and name not in known:
            yield f"Ray Serve knows no flag {name}"


def _serve_flags() -> set[str]:
    return set(re.findall(r'"(RAY_SERVE_\w+)"', (_ray_folder() / "serve" / "_private" / "constants.py").read_text()))


def _ray_folder() -> Path:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.submodule_search_locations is not None
    return Path(ray.submodule_search_locations[0])
