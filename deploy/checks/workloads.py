"""What Kubernetes takes and does not do as it was meant: selectors, disks, autoscalers, budgets, images, probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

from deploy.checks.build import DEPLOY, Object, name_of
from deploy.checks.dockerfiles import ROOT, dockerfile, entrypoint, is_ours, user
from deploy.checks.engines import engine_of
from deploy.checks.pods import Pod, is_head, pods_of, selects

_NAME, _PART_OF = "app.kubernetes.io/name", "app.kubernetes.io/part-of"
# KubeRay gives its pods this one as well.
_KUBERAYS = {"ray.io/cluster"}
# What answers a probe over HTTP, by the port's name or number.
_HEALTH = {
    "8265": {"/api/gcs_healthz"}, "52365": {"/api/local_raylet_healthz"}, "8000": {"/-/healthz"},
    "http": {"/readyz", "/livez", "/healthz"}, "health": {"/"},
    "metrics": {"/metrics"},
}  # fmt: skip
# Ray's own, which KubeRay takes for given.
_RAY_PORTS = {"gcs-server": 6379, "dashboard": 8265, "metrics": 8080}
_NAMESPACE = "kairos"
_ENFORCED = ("pod-security.kubernetes.io/enforce", "restricted")


def workload_problems(objects: list[Object], secrets: list[Object], deploy: Path = DEPLOY) -> Iterator[str]:
    pods = pods_of(objects)
    yield from chain(
        _namespaces(objects, secrets),
        _selectors(objects, pods),
        _claims(objects, pods),
        _single(objects, pods),
        _autoscalers(objects),
        _budgets(objects, pods),
        _secrets(secrets),
        _monitors(objects, pods),
    )
    for pod in pods:
        yield from (f"{pod.owner}: {problem}" for problem in chain(_labels(pod), _scheduling(pod), _ports(pod)))
        for container in pod.all_containers:
            for problem in chain(_image(container, pod, deploy), _health(container, pod), _program(container, deploy)):
                yield f"{pod.owner}: {container['name']} {problem}"


def _namespaces(objects: list[Object], secrets: list[Object]) -> Iterator[str]:
    for item in (*objects, *secrets):
        metadata = item["metadata"]
        own = metadata["name"] if item["kind"] == "Namespace" else metadata.get("namespace")
        if own != _NAMESPACE:
            yield f"{name_of(item)} is in the namespace {own}, not in {_NAMESPACE}"
        if item["kind"] == "Namespace" and metadata.get("labels", {}).get(_ENFORCED[0]) != _ENFORCED[1]:
            yield f"{name_of(item)}: {_ENFORCED[0]} is not {_ENFORCED[1]}"


def _selectors(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    """A workload has the pods that it makes, a StatefulSet a Service that names them; ports are alike on the way."""
    services = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "Service"}
    for item in objects:
        spec = item.get("spec", {})
        if item["kind"] in ("Deployment", "StatefulSet"):
            (pod,) = pods_of([item])
            if not spec["selector"].get("matchLabels") or not selects(spec["selector"], pod.labels):
                yield f"{name_of(item)}: its selector does not take its own pods"
        if item["kind"] == "StatefulSet":
            service = services.get(spec["serviceName"])
            if service is None or not selects({"matchLabels": service["selector"]}, pod.labels):
                yield f"{name_of(item)}: serviceName is {spec['serviceName']}, which is no service of its pods"
        if item["kind"] == "Service":
            name = spec["selector"].get(_NAME, "no name")
            if not item["metadata"]["name"].startswith(name):
                yield f"{name_of(item)}: is called otherwise than the pods of {name} that it selects"
            for port in spec["ports"]:
                for pod in (p for p in pods if selects({"matchLabels": spec["selector"]}, p.labels)):
                    number = pod.ports.get(port.get("targetPort"), port.get("targetPort"))
                    if port["port"] != number or pod.ports.get(port["name"]) != number:
                        yield f"{name_of(item)}: port {port['name']} {port['port']} is {number} in {pod.owner}"


def _claims(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    """A disk of one node has one owner, and a successor on the same node; who writes to a disk has its group."""
    claims = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "PersistentVolumeClaim"}
    owners: dict[str, set[str]] = {}
    services = {name_of(item): item["spec"] for item in objects if item["kind"] == "RayService"}
    for pod in pods:
        names = [v["persistentVolumeClaim"]["claimName"] for v in pod.spec.get("volumes", [])
                 if "persistentVolumeClaim" in v]  # fmt: skip
        if (names or pod.claims) and "fsGroup" not in pod.spec.get("securityContext", {}):
            yield f"{pod.owner}: its disks are root's, without an fsGroup"
        owner = pod.owner.split(" ")[0]
        for name in (name for name in names if name in claims and not _visits(pod, objects)):
            owners.setdefault(name, set()).add(owner)
            shared = "ReadWriteMany" in claims[name]["accessModes"]
            upgrade = services.get(owner, {}).get("upgradeStrategy", {}).get("type")
            if not shared and upgrade == "NewCluster" and not _stays(pod):
                yield f"{pod.owner}: the disk {name} is one node's, and its successor may start on another"
    for name, users in owners.items():
        if len(users) > 1 and claims[name]["accessModes"] != ["ReadWriteMany"]:
            yield f"{', '.join(sorted(users))} share the disk {name}, which is not ReadWriteMany"
    yield from (f"PersistentVolumeClaim/{name}: no pod has it" for name in claims.keys() - owners.keys())


def _single(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    """Who keeps files on a disk is alone: two Redis or two Qdrant that know nothing of each other share no data."""
    for item in (item for item in objects if item["kind"] in ("Deployment", "StatefulSet")):
        spec = item["spec"]
        (pod,) = pods_of([item])
        has_disk = pod.claims or any("persistentVolumeClaim" in v for v in pod.spec.get("volumes", []))
        if has_disk and spec.get("replicas") != 1:
            yield f"{name_of(item)}: has {spec.get('replicas')} replicas, each with files of its own"
        if has_disk and item["kind"] == "Deployment" and spec.get("strategy", {}).get("type") != "Recreate":
            yield f"{name_of(item)}: its successor would start beside it, on the same files"


def _visits(pod: Pod, objects: list[Object]) -> bool:
    """A job that stands beside the disk's owner, or is started by hand once the owner is gone."""
    jobs = {name_of(item): item["spec"] for item in objects if item["kind"] == "CronJob"}
    return pod.owner in jobs and (
        "podAffinity" in pod.spec.get("affinity", {}) or jobs[pod.owner].get("suspend", False)
    )


def _stays(pod: Pod) -> bool:
    """Whether the pod has to be on the node where others like it are."""
    terms = (
        pod.spec.get("affinity", {}).get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    )
    return any(
        term["topologyKey"] == "kubernetes.io/hostname" and selects(term.get("labelSelector", {}), pod.labels)
        for term in terms
    )


def _autoscalers(objects: list[Object]) -> Iterator[str]:
    workloads = {name_of(item): item for item in objects}
    for scaler in (item for item in objects if item["kind"] == "HorizontalPodAutoscaler"):
        spec, name = scaler["spec"], name_of(scaler)
        target = workloads.get(f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}")
        if target is None:
            continue  # named already
        if target["apiVersion"] != spec["scaleTargetRef"].get("apiVersion"):
            yield f"{name}: its target is of {target['apiVersion']}"
        if "replicas" in target["spec"]:
            yield f"{name}: its target sets a number of replicas too"
        if spec["minReplicas"] > spec["maxReplicas"]:
            yield f"{name}: minReplicas is above maxReplicas"
        if not spec["metrics"]:
            yield f"{name}: goes by nothing"
        for metric in spec["metrics"]:
            for pod in pods_of([target]):
                resource = metric.get("resource", {})
                if any(resource.get("name") not in c["resources"]["requests"] for c in pod.containers):
                    yield f"{name}: goes by {resource.get('name')}, which {pod.owner} does not ask for"
                if "averageUtilization" not in resource.get("target", {}):
                    yield f"{name}: has no averageUtilization to reach"


def _budgets(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    """A node can be drained, and no pod has two budgets: Kubernetes would then evict none."""
    least = {}
    for item in objects:
        if item["kind"] == "HorizontalPodAutoscaler":
            least[f"Deployment/{item['spec']['scaleTargetRef']['name']}"] = item["spec"]["minReplicas"]
        if item["kind"] == "RayService":
            groups = item["spec"]["rayClusterConfig"]["workerGroupSpecs"]
            least[f"{name_of(item)} workers"] = sum(group["minReplicas"] for group in groups)
    guarded: dict[str, str] = {}
    for budget in (item for item in objects if item["kind"] == "PodDisruptionBudget"):
        if not budget["spec"]["selector"].get("matchLabels"):
            yield f"{name_of(budget)}: selects everything"
            continue
        for pod in (pod for pod in pods if selects(budget["spec"]["selector"], pod.labels)):
            if pod.owner in guarded:
                yield f"{name_of(budget)}: {pod.owner} has {guarded[pod.owner]} already"
            elif budget["spec"]["minAvailable"] >= least.get(pod.owner, 1):
                yield f"{name_of(budget)}: {pod.owner} may be {least.get(pod.owner, 1)}, of which none could leave"
            guarded[pod.owner] = name_of(budget)


def _secrets(secrets: list[Object]) -> Iterator[str]:
    for secret in secrets:
        is_tls = secret.get("type") == "kubernetes.io/tls"
        if is_tls and not {"tls.crt", "tls.key"} <= secret["stringData"].keys():
            yield f"{name_of(secret)}: is of the type kubernetes.io/tls and lacks tls.crt or tls.key"
        if secret["metadata"]["name"].endswith("-tls") and not is_tls:
            yield f"{name_of(secret)}: is not of the type kubernetes.io/tls"


def _monitors(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    """Where anything is scraped, everything with a port for metrics is."""
    services = [item for item in objects if item["kind"] == "Service"]
    monitors = [item for item in objects if item["kind"] in ("ServiceMonitor", "PodMonitor")]
    watched = set()
    for monitor in monitors:
        spec = monitor["spec"]
        if monitor["kind"] == "PodMonitor":
            found = [pod for pod in pods if selects(spec["selector"], pod.labels)]
            for label in spec.get("podTargetLabels", []):
                if any(label not in pod.labels for pod in found):
                    yield f"{name_of(monitor)}: not all that it selects have the label {label}"
        else:
            behind = [s["spec"]["selector"] for s in services
                      if selects(spec["selector"], s["metadata"].get("labels", {}))]  # fmt: skip
            found = [pod for pod in pods if any(selects({"matchLabels": selector}, pod.labels) for selector in behind)]
        if not (spec["selector"].get("matchLabels") or spec["selector"].get("matchExpressions")):
            yield f"{name_of(monitor)}: selects everything"
        watched |= {pod.owner for pod in found}
    for pod in pods:
        if monitors and "metrics" in pod.ports and pod.owner not in watched:
            yield f"{pod.owner}: no monitor scrapes it"


def _labels(pod: Pod) -> Iterator[str]:
    """By these, policies, monitors and budgets find it."""
    name = pod.owner.partition("/")[2].split(" ")[0]
    wanted = {_NAME: name, _PART_OF: "kairos"}
    if "ray.io/node-type" in pod.labels:
        wanted["app.kubernetes.io/component"] = "stage"
    for label, value in wanted.items():
        if pod.labels.get(label) != value:
            yield f"its label {label} is {pod.labels.get(label)}, not {value}"


def _scheduling(pod: Pod) -> Iterator[str]:
    for spread in pod.spec.get("topologySpreadConstraints", []):
        if not spread.get("labelSelector", {}).get("matchLabels") or not selects(spread["labelSelector"], pod.labels):
            yield "topologySpreadConstraints do not count the pod itself"
        for label in spread.get("matchLabelKeys", []):
            if label not in {*pod.labels, *_KUBERAYS}:
                yield f"topologySpreadConstraints go by the label {label}, which the pod has not"
    terms = (
        pod.spec.get("affinity", {}).get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    )
    # A job may stand beside others, whose disk it reads.
    for term in terms if not pod.owner.startswith("CronJob/") else []:
        if not term.get("labelSelector", {}).get("matchLabels") or not selects(term["labelSelector"], pod.labels):
            yield "podAffinity leads to other pods than its like"
    asked = {
        resource for c in pod.all_containers for amounts in c.get("resources", {}).values() for resource in amounts
    }
    for toleration in pod.spec.get("tolerations", []):
        if toleration.get("key") not in asked:
            yield f"tolerates {toleration.get('key')}, and asks for no such thing"
    if "nvidia.com/gpu" in asked and not pod.spec.get("tolerations"):
        yield "asks for a GPU, and does not tolerate the nodes that have them"


def _ports(pod: Pod) -> Iterator[str]:
    if "ray.io/node-type" not in pod.labels:
        return
    for name, number in _RAY_PORTS.items():
        if (is_head(pod) or name == "metrics") and pod.ports.get(name) != number:
            yield f"port {name} is {pod.ports.get(name)}, Ray's is {number}"
    for name in pod.ports.keys() - _RAY_PORTS.keys():
        if name not in ("serve", "serve-grpc"):
            yield f"KubeRay knows no port {name}"


def _image(container: Object, pod: Pod, deploy: Path) -> Iterator[str]:
    """The version that this repository has, or that fits what it is called by; who runs is known to the image."""
    image = container["image"]
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]  # empty where it is pinned by a digest alone
    if is_ours(image):
        runs: int | None = user(image, deploy)
        project = _found("pyproject.toml", 'version = "(.*)"')
        if tag and "kairos/models" not in image and not tag.startswith(project):
            yield f"runs {image}, and this is version {project}"
    elif (engine := engine_of(image)) is None:
        yield f"runs {image}, which nobody here knows"
        return
    else:
        runs = engine.user
        if tag and not engine.tag.fullmatch(tag):
            yield f"runs {image}, which is not like {engine.tag.pattern}"
        client = _found("constraints.txt", r"qdrant-client==(\d+\.\d+)\..*")
        if tag and "qdrant/" in image and not tag.startswith(f"v{client}."):
            yield f"runs {image}, and its client is {client}"
    asked = pod.spec.get("securityContext", {}).get("runAsUser")
    if runs and asked != runs:
        yield f"runs as user {asked}, and {image} is made for {runs}"


@cache
def _found(file: str, line: str) -> str:
    found = re.search(f"^{line}$", (ROOT / file).read_text(), re.MULTILINE)
    assert found is not None, f"{file} has no line {line}"
    return found[1]


def _health(container: Object, pod: Pod) -> Iterator[str]:
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        get = probe.get("httpGet")
        if get is not None and get.get("path") not in _HEALTH.get(str(get.get("port")), set()):
            yield f"{kind} asks for {get.get('path')}, which port {get.get('port')} does not answer"
        if probe and len({"httpGet", "tcpSocket", "grpc", "exec"} & probe.keys()) != 1:
            yield f"{kind} asks in no way, or in several"
    # Calls still come until every node has heard that the pod is leaving.
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if sleep >= pod.spec.get("terminationGracePeriodSeconds", 30):
        yield f"is killed before its preStop of {sleep} s is over"


def _program(container: Object, deploy: Path) -> Iterator[str]:
    """What is called is in the image; without a command, the image itself knows. Ray's command is KubeRay's."""
    command, image = container.get("command", []), container["image"]
    has_file = is_ours(image) and dockerfile(image, deploy).is_file()
    if has_file and not command and not container["name"].startswith("ray-") and entrypoint(image, deploy) is None:
        yield f"has no command, and {image} runs nothing by itself"
    engine = engine_of(image)
    known = {"python", "cp", "sh"} if is_ours(image) else engine.programs if engine else frozenset(command[:1])
    for module in command[2:3] if command[1:2] == ["-m"] else []:
        if not (ROOT / module.replace(".", "/") / "__main__.py").is_file():
            yield f"calls {module}, which is no module"
    for program in command[:1]:
        if program not in known:
            yield f"calls {program}, which is not in {image}"
