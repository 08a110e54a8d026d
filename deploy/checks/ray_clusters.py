"""A RayService's cluster: options of Serve and of `ray start` against the pods and the installed Ray."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from itertools import chain
from typing import Any

from deploy.checks.build import Object, Overlay, Pod, Problem, name_of
from deploy.checks.serve_config import given

# Without one of them on every node, calls go through Serve's own Python proxy, or worker pods are never ready.
_NEEDED_FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
_HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265}


def ray_cluster_problems(overlay: Overlay) -> Iterator[Problem]:
    for item in overlay.of_kind("RayService"):
        config, cluster = overlay.serve_configs[item["metadata"]["name"]], item["spec"]["rayClusterConfig"]
        for what in chain(_serve_problems(config), _room_problems(config, cluster), _start_problems(cluster)):
            yield Problem(name_of(item), what)
        if item["spec"].get("upgradeStrategy", {}).get("type") == "NewClusterWithIncrementalUpgrade":
            yield Problem(name_of(item), "the incremental upgrade moves HTTP traffic only, and calls are gRPC")
        if item["spec"].get("excludeHeadPodFromServeSvc") and not cluster.get("workerGroupSpecs"):
            yield Problem(name_of(item), "excludeHeadPodFromServeSvc must be false: no other pod serves")
        if cluster.get("authOptions", {}).get("mode") != "token":
            yield Problem(name_of(item), "authOptions.mode must be token: a caller of Ray's ports runs code", own=True)
        for pod in (pod for pod in overlay.pods if pod.owner.startswith(f"{name_of(item)} ")):
            yield from (Problem(pod.owner, what) for what in _pod_problems(pod, config))
            yield from (Problem(pod.owner, what) for what in _flag_problems(overlay.environment(pod.containers[0])))
            if cluster.get("autoscalerOptions", {}).get("version") == "v2" and pod.spec.get("restartPolicy") != "Never":
                yield Problem(pod.owner, "restartPolicy must be Never, or the autoscaler v2 loses track of its pods")


def _serve_problems(config: Any) -> Iterator[str]:
    if config.proxy_location != "EveryNode":
        yield f"proxy_location is {config.proxy_location.value}: only EveryNode makes every worker an ingress"
    if config.http_options.host != "0.0.0.0":
        yield f"http_options.host is {config.http_options.host}, where no probe and no caller reaches it"


def _room_problems(config: Any, cluster: Object) -> Iterator[str]:
    """The replicas of all deployments fit in the worker pods, at both ends of the autoscaling."""
    deployments = [deployment for application in config.applications for deployment in application.deployments]
    alone = {"groupName": "head", "minReplicas": 1, "maxReplicas": 1, **cluster["headGroupSpec"]}
    for group in cluster.get("workerGroupSpecs") or [alone]:
        for end, pods in (("min", group["minReplicas"]), ("max", group["maxReplicas"])):
            needed = sum(_cpus_of(deployment) * replicas_of(deployment, end) for deployment in deployments)
            if needed > (room := pods * float(group.get("rayStartParams", {}).get("num-cpus", 0))):
                yield f"{group['groupName']}: {end}imal replicas need {needed:g} CPUs, its pods have {room:g}"


def replicas_of(deployment: Any, end: str) -> int:
    """`end`: min or max."""
    scaling = given(deployment.autoscaling_config, None)
    return int(getattr(scaling, f"{end}_replicas") if scaling else given(deployment.num_replicas, 1))


def _cpus_of(deployment: Any) -> float:
    """Of one replica."""
    options = given(deployment.ray_actor_options, None)
    return float(options.num_cpus if options and options.num_cpus is not None else 1)


def _start_problems(cluster: Object) -> Iterator[str]:
    """Options of `ray start` against the installed Ray and the pods that it runs in."""
    if cluster.get("rayVersion") != version("ray"):
        yield f"rayVersion is {cluster.get('rayVersion')}, the images have {version('ray')}"
    head, options = cluster["headGroupSpec"], _in_ray("scripts/scripts.py", r'"--([a-z-]+)"')
    workers = [(group["groupName"], group) for group in cluster.get("workerGroupSpecs", [])]
    for role, group in (("head", head), *workers):
        parameters = group.get("rayStartParams", {})
        resources = group["template"]["spec"]["containers"][0].get("resources", {})
        yield from (f"{role}: `ray start` has no --{name}" for name in parameters if name not in options)
        if parameters.get("num-gpus", "0") != str(resources.get("limits", {}).get("nvidia.com/gpu", "0")):
            yield f"{role}: num-gpus is not what the pod requests"
    parameters = head.get("rayStartParams", {})
    if workers and parameters.get("num-cpus") != "0":
        yield "head: num-cpus must be 0, or replicas start where no Service leads"
    if parameters.get("dashboard-host") != "0.0.0.0":
        yield "head: dashboard-host must be 0.0.0.0, or KubeRay does not reach it"


def _pod_problems(pod: Pod, config: Any) -> Iterator[str]:
    wanted = {"serve": config.http_options.port, "serve-grpc": config.grpc_options.port, "metrics": 8080}
    for name, number in (wanted | (_HEAD_PORTS if pod.node_type == "head" else {})).items():
        if pod.ports.get(name) != number:
            yield f"port {name} is {pod.ports.get(name)}, Ray listens on {number}"
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    for deployment in (d for application in config.applications for d in application.deployments):
        if given(deployment.graceful_shutdown_timeout_s, 20) >= grace_s:
            yield f"is killed after {grace_s} s, before the replicas of {deployment.name} have ended"


def _flag_problems(variables: Mapping[str, str | None]) -> Iterator[str]:
    for flag, value in _NEEDED_FLAGS.items():
        if variables.get(flag) != value:
            yield f"{flag} is {variables.get(flag)}, and must be {value} on every node"
    for name in variables:
        if name.startswith("RAY_SERVE_") and name not in _in_ray("serve/_private/constants.py", r'"(RAY_SERVE_\w+)"'):
            yield f"Ray Serve has no flag {name}"


@cache
def _in_ray(file: str, pattern: str) -> frozenset[str]:
    """What a pattern finds in a file of the Ray that is installed."""
    return frozenset(re.findall(pattern, (files("ray") / file).read_text()))
