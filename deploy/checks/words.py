"""What the API server knows and its OpenAPI schemas do not say: closed sets of words, quantities, what must be there.

Our own lists of what we use, as in custom_resources.py: a word or label that a manifest uses for the first time is
added here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from deploy.checks.build import Object, name_of

# Of a field, wherever it stands.
_WORDS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "sessionAffinity": {"ClientIP", "None"},
    "clusterIP": {"None"},
    "protocol": {"TCP", "UDP"},
    "scheme": {"HTTP", "HTTPS"},
    "appProtocol": {"kubernetes.io/h2c"},
    "policyTypes": {"Ingress", "Egress"},
    "accessModes": {"ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"},
    "operator": {"In", "Exists"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "topologyKey": {"kubernetes.io/hostname", "topology.kubernetes.io/zone"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "fieldPath": {"metadata.name"},
    "drop": {"ALL"},
}
# Of `type`, by what it is the type of.
_TYPES = {
    "seccompProfile": {"RuntimeDefault"},
    "strategy": {"RollingUpdate", "Recreate"},
    "metrics": {"Resource"},
    "target": {"Utilization"},
    "Secret": {"Opaque", "kubernetes.io/tls"},
    "Service": {"ClusterIP"},
}
_LABELS = {
    *(f"app.kubernetes.io/{what}" for what in ("name", "part-of", "component")),
    # Kubernetes', KubeRay's, Grafana's.
    "kubernetes.io/metadata.name", "pod-security.kubernetes.io/enforce", "k8s-app", "ray.io/node-type",
    "ray.io/cluster", "grafana_dashboard",
}  # fmt: skip
# By what it stands in; where that says too little, by what that stands in as well.
_NEEDED = {
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "CronJob", "Service", "NetworkPolicy", "PodDisruptionBudget",
         "HorizontalPodAutoscaler", "PersistentVolumeClaim", "RayService", "ServiceMonitor", "PodMonitor"),
        ("metadata", "spec"),
    ),
    **dict.fromkeys(("ConfigMap", "Secret", "Namespace"), ("metadata",)),
    "Secret": ("metadata", "stringData"),
    "metadata": ("name",), "template": ("metadata", "spec"), "template metadata": ("labels",),
    "containers": ("name", "image", "resources"), "initContainers": ("name", "image", "command"),
    "containers resources": ("requests",), "containers ports": ("name", "containerPort"),
    "autoscalerOptions resources": ("requests", "limits"),
    "env": ("name",), "configMapRef": ("name",), "secretKeyRef": ("name", "key"), "configMap": ("name",),
    "secret": ("secretName",), "persistentVolumeClaim": ("claimName",), "volumeMounts": ("name", "mountPath"),
    "NetworkPolicy spec": ("podSelector", "policyTypes"),
    "ingress ports": ("port",), "egress ports": ("port",),
    "Service spec": ("selector", "ports"), "Service spec ports": ("name", "port", "targetPort"),
    "PodDisruptionBudget spec": ("selector", "minAvailable"),
    "HorizontalPodAutoscaler spec": ("metrics", "minReplicas", "scaleTargetRef"),
    "PersistentVolumeClaim spec": ("accessModes", "resources"), "PersistentVolumeClaim spec resources": ("requests",),
    "PersistentVolumeClaim spec resources requests": ("storage",),
    "volumeClaimTemplates spec": ("accessModes", "resources"), "volumeClaimTemplates spec resources": ("requests",),
    "volumeClaimTemplates spec resources requests": ("storage",),
    "StatefulSet spec": ("replicas", "serviceName", "selector", "template"),
    "Deployment spec": ("selector", "template"), "CronJob spec": ("schedule", "jobTemplate"),
    "jobTemplate": ("spec",), "jobTemplate spec": ("template",), "template spec": ("containers",),
}  # fmt: skip
_KINDS = {*(kind for kind in _NEEDED if kind[0].isupper() and " " not in kind), "PrometheusRule", "GRPCRoute"}
# Lists whose entries are told apart by this field.
_KEYS = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath",
    "workerGroupSpecs": "groupName", "volumeClaimTemplates": "metadata",
}  # fmt: skip
# Of these, each entry has exactly one.
_ONE_OF = {
    "env": {"value", "valueFrom"}, "valueFrom": {"secretKeyRef", "fieldRef", "configMapKeyRef"},
    "envFrom": {"configMapRef", "secretRef"},
    "volumes": {"emptyDir", "secret", "configMap", "persistentVolumeClaim"},
}  # fmt: skip
_NAMED = {"metadata", "containers", "initContainers", "volumes", "ports"}
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_QUANTITY = {
    "cpu": re.compile(r"\d+(\.\d+)?m?"),
    "nvidia.com/gpu": re.compile(r"\d+"),
    **dict.fromkeys(("memory", "storage", "ephemeral-storage"), re.compile(r"\d+[KMGT]i")),
}
_UNITS = {"m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
# What people, and not Kubernetes, give meaning to.
_FREE = {"data", "stringData", "annotations", "rayStartParams", "serveConfigV2"}


def word_problems(objects: list[Object]) -> Iterator[str]:
    """One line for each word that Kubernetes would not take, or would take for something else."""
    for item in objects:
        if item["kind"] not in _KINDS:
            yield f"{name_of(item)}: what objects of this kind name, nobody checks here"
        # A rule's labels are an alert's.
        if item["kind"] != "PrometheusRule":
            yield from (f"{name_of(item)}: {problem}" for problem in _walk(item, item["kind"], ""))


def _walk(node: Any, parent: str, path: str) -> Iterator[str]:
    field = parent.rpartition(" ")[2]
    if isinstance(node, list):
        yield from _twice(node, field, path)
        for number, entry in enumerate(node):
            yield from _walk(entry, parent, f"{path}.{number}")
    if node is None:
        yield f"{path} is empty"
    if not isinstance(node, dict):
        return
    yield from (f"{path}: {needed} is missing".lstrip(": ") for needed in _NEEDED.get(parent, ()) if needed not in node)
    if field in ("requests", "limits"):
        yield from _quantities(node, path)
        return
    if field in ("labels", "matchLabels", "selector") and not {"matchLabels", "matchExpressions"} & node.keys():
        yield from (f"{path}: nobody knows the label {label}" for label in node.keys() - _LABELS)
        return
    yield from _one_of(node, field, path)
    for key, value in node.items():
        here = f"{path}.{key}".lstrip(".")
        known = _TYPES.get(field) if key == "type" else _WORDS.get(key)
        if known is not None and (unknown := {value} - known if isinstance(value, str) else {*(value or [])} - known):
            yield f"{here} is {', '.join(sorted(unknown))}, and can be {', '.join(sorted(known))}"
        if key in ("accessModes", "policyTypes", "containers") and not value:
            yield f"{here} is empty"
        if key == "schedule":
            yield from _schedule(value)
        if field == "matchExpressions" and key == "key" and value not in _LABELS:
            yield f"{here}: nobody knows the label {value}"
        if key not in _FREE:
            name = f"{parent} {key}" if f"{parent} {key}" in _NEEDED else f"{field} {key}"
            yield from _walk(value, name if name in _NEEDED else key, here)
    if field == "resources":
        yield from _over_limit(node, path)


def _one_of(node: Object, field: str, path: str) -> Iterator[str]:
    wanted = _ONE_OF.get(field, set())
    if wanted and len(wanted & node.keys()) != 1:
        yield f"{path} has not one of {', '.join(sorted(wanted))}"
    name = str(node.get("name", "a"))
    pattern = _PORT_NAME if field == "ports" else _OBJECT_NAME if field == "metadata" else _DNS_NAME
    if field in _NAMED and not pattern.fullmatch(name):
        yield f"{path}.name is {name}, which is no name in Kubernetes"


def _twice(entries: list[Any], parent: str, path: str) -> Iterator[str]:
    field = _KEYS.get(parent, "name" if parent == "ports" else "")
    names = [str(entry[field]) for entry in entries if isinstance(entry, dict) and field in entry]
    yield from (f"{path}: {name} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    ports = [entry.get("containerPort") for entry in entries if parent == "ports"]
    yield from (f"{path}: port {port} is there twice" for port in {p for p in ports if p and ports.count(p) > 1})


def _quantities(amounts: Object, path: str) -> Iterator[str]:
    for resource, amount in amounts.items():
        if resource not in _QUANTITY:
            yield f"{path}: there is no resource {resource}"
        elif not _QUANTITY[resource].fullmatch(str(amount)):
            yield f"{path}: {resource} is {amount}, which is no quantity of it"


def _over_limit(resources: Object, path: str) -> Iterator[str]:
    limits = resources.get("limits", {})
    for resource, amount in resources.get("requests", {}).items():
        if resource in limits and quantity(amount) > quantity(limits[resource]):
            yield f"{path}: asks for {amount} {resource}, above its limit of {limits[resource]}"


def quantity(amount: Any) -> float:
    """500m is 0.5, 1Ki is 1,024; 0 for what is none, which is named elsewhere."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(\D*)", str(amount))
    return float(found[1]) * _UNITS.get(found[2], 1.0) if found else 0.0


def _schedule(schedule: str) -> Iterator[str]:
    fields = schedule.split()
    fits = len(fields) == len(_CRON) and all(
        field == "*" or (field.isdecimal() and low <= int(field) <= high)
        for field, (low, high) in zip(fields, _CRON, strict=True)
    )
    if not fits:
        yield f"schedule {schedule!r} is not five fields of * or a number in its range"
