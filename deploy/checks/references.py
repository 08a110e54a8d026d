"""Checks the references from one object to another: config maps, secrets, disks, ports, pods, services."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from deploy.checks.build import Object, Overlay, Pod, Problem, name_of, selects
from kairos.gateway.v1 import gateway_pb2

_SERVED = {
    *(service.full_name for service in gateway_pb2.DESCRIPTOR.services_by_name.values()),
    "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
}  # fmt: skip
# Ray's agent listens on a port that KubeRay knows and no container declares.
_RAY_AGENT_PORT = 52365


def reference_problems(overlay: Overlay) -> Iterator[Problem]:
    """One problem for each reference to an object that does not exist."""
    yield from chain(
        *(_pod_problems(pod, overlay) for pod in overlay.pods),
        _configuration(overlay),
        _services(overlay),
        _targets(overlay),
        _monitors(overlay),
        _routes(overlay),
        _disks(overlay),
    )


def _configuration(overlay: Overlay) -> Iterator[Problem]:
    maps = {name: set(data) for name, data in overlay.config_maps.items()}
    known = {"config map": maps, "secret": overlay.secret_keys}
    for where, what, name, keys in _references(overlay):
        # Secrets are created outside the overlay, and only those of this repository are known here.
        own = what == "secret"
        if name not in known[what]:
            yield Problem(where, f"there is no {what} {name}", own)
        else:
            missing = [key for key in keys if key not in known[what][name]]
            yield from (Problem(where, f"{what} {name} has no key {key}", own) for key in missing)


def _references(overlay: Overlay) -> Iterator[tuple[str, str, str, list[str]]]:
    """(object, "config map" or "secret", its name, the keys that are read one by one; none where all are)."""
    for pod in overlay.pods:
        for container in pod.all_containers:
            for source in container.get("envFrom", []):
                yield from _source(pod.owner, source, ("configMapRef", "secretRef"))
            for variable in container.get("env", []):
                yield from _source(pod.owner, variable.get("valueFrom", {}), ("configMapKeyRef", "secretKeyRef"))
        for volume in pod.spec.get("volumes", []):
            for field, what, name in (("configMap", "config map", "name"), ("secret", "secret", "secretName")):
                if field in volume and not volume[field].get("optional"):
                    keys = [item["key"] for item in volume[field].get("items", [])]
                    yield pod.owner, what, volume[field][name], keys
    for item in overlay.of_kind("RayService"):
        options = item["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions", {})
        source = options.get("redisPassword", {}).get("valueFrom", {})
        yield from _source(name_of(item), source, ("configMapKeyRef", "secretKeyRef"))


def _source(where: str, source: Object, fields: tuple[str, str]) -> Iterator[tuple[str, str, str, list[str]]]:
    for field, what in zip(fields, ("config map", "secret"), strict=True):
        if field in source and not source[field].get("optional"):
            yield where, what, source[field]["name"], [source[field]["key"]] if "key" in source[field] else []


def _pod_problems(pod: Pod, overlay: Overlay) -> Iterator[Problem]:
    claims = {item["metadata"]["name"] for item in overlay.of_kind("PersistentVolumeClaim")}
    # Our overlays contain all objects that they name. Other overlays may use objects that the cluster already has.
    for field, kind in (("serviceAccountName", "ServiceAccount"), ("priorityClassName", "PriorityClass")):
        if field in pod.spec and pod.spec[field] not in {item["metadata"]["name"] for item in overlay.of_kind(kind)}:
            yield Problem(pod.owner, f"there is no {kind} {pod.spec[field]}", own=True)
    for name in (name for name in pod.claim_names() if name not in claims):
        yield Problem(pod.owner, f"there is no disk {name}", own=True)
    requested = {name for c in pod.all_containers for amounts in c.get("resources", {}).values() for name in amounts}
    for toleration in pod.spec.get("tolerations", []):
        if toleration.get("key") not in requested:
            what = f"tolerates {toleration.get('key', 'everything')}, and requests no such resource"
            yield Problem(pod.owner, what, own=True)
    for container in pod.all_containers:
        for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
            for way in ("httpGet", "tcpSocket", "grpc"):
                port = container.get(kind, {}).get(way, {}).get("port")
                if port is not None and not pod.has_port(port) and not (pod.node_type and port == _RAY_AGENT_PORT):
                    yield Problem(pod.owner, f"the {kind} asks port {port}, which the pod does not have")
    for term in pod.required_neighbours():
        if not any(selects(term["labelSelector"], other.labels) for other in overlay.pods):
            yield Problem(pod.owner, f"must be beside {term['labelSelector']}, and there is no such pod")


def _services(overlay: Overlay) -> Iterator[Problem]:
    services = {item["metadata"]["name"]: item for item in overlay.of_kind("Service")}
    for service in services.values():
        behind = overlay.pods_behind(service)
        if not behind and service["spec"].get("selector"):
            yield Problem(name_of(service), "selects no pod")
        for port in service["spec"].get("ports", []):
            target = port.get("targetPort", port["port"])
            for pod in (pod for pod in behind if not pod.has_port(target)):
                what = f"port {port.get('name', port['port'])} leads to {target}, which {pod.owner} does not have"
                yield Problem(name_of(service), what)
    for item in overlay.of_kind("StatefulSet"):
        name = item["spec"]["serviceName"]
        if name not in services or name_of(item) not in {pod.owner for pod in overlay.pods_behind(services[name])}:
            yield Problem(name_of(item), f"serviceName is {name}, which is no service of its pods")


def _targets(overlay: Overlay) -> Iterator[Problem]:
    names = {name_of(item) for item in overlay.objects}
    for item in overlay.of_kind("HorizontalPodAutoscaler"):
        target = f"{item['spec']['scaleTargetRef']['kind']}/{item['spec']['scaleTargetRef']['name']}"
        if target not in names:
            yield Problem(name_of(item), f"there is no {target}")
    for item in overlay.of_kind("PodDisruptionBudget"):
        if not any(selects(item["spec"].get("selector", {}), pod.labels) for pod in overlay.pods):
            yield Problem(name_of(item), "selects no pod")


def _monitors(overlay: Overlay) -> Iterator[Problem]:
    for item in overlay.of_kind("ServiceMonitor", "PodMonitor"):
        selector = item["spec"]["selector"]
        if item["kind"] == "PodMonitor":
            ports = {name for pod in overlay.pods if selects(selector, pod.labels) for name in pod.ports}
        else:
            services = overlay.of_kind("Service")
            found = [service for service in services if selects(selector, service["metadata"].get("labels", {}))]
            ports = {port.get("name") for service in found for port in service["spec"]["ports"]}
        endpoints = item["spec"].get("endpoints", item["spec"].get("podMetricsEndpoints", []))
        for port in {endpoint["port"] for endpoint in endpoints if "port" in endpoint} - ports:
            # A monitor of another overlay may select objects outside of it.
            yield Problem(name_of(item), f"nothing that it selects has a port {port}", own=not ports)


def _routes(overlay: Overlay) -> Iterator[Problem]:
    services = overlay.of_kind("Service")
    ports = {(item["metadata"]["name"], port["port"]) for item in services for port in item["spec"].get("ports", [])}
    for route in overlay.of_kind("GRPCRoute"):
        for rule in route["spec"].get("rules", []):
            for backend in rule.get("backendRefs", []):
                if "namespace" not in backend and (backend["name"], backend.get("port")) not in ports:
                    yield Problem(name_of(route), f"no service {backend['name']} has port {backend.get('port')}")
            for match in rule.get("matches", []):
                service = match.get("method", {}).get("service")
                if service and service not in _SERVED:
                    yield Problem(name_of(route), f"the gateway does not serve {service}")


def _disks(overlay: Overlay) -> Iterator[Problem]:
    """A disk of one node has one owner, and its owner's successor starts on the same node, or after it."""
    specs = {item["metadata"]["name"]: item["spec"] for item in overlay.of_kind("PersistentVolumeClaim")}
    workloads = {name_of(item): item["spec"] for item in overlay.objects if "spec" in item}
    owners: dict[str, set[str]] = {}
    for pod in overlay.pods:
        owner = pod.owner.split(" ")[0]
        spec, claims = workloads[owner], [name for name in pod.claim_names() if name in specs]
        # A job runs on the node of the disk's owner, or an operator starts it after the owner has been removed.
        if "jobTemplate" in spec and (pod.required_neighbours() or spec.get("suspend")):
            continue
        # Nodes of one Qdrant cluster copy what they hold to each other.
        is_cluster = overlay.environment(pod.containers[0]).get("QDRANT__CLUSTER__ENABLED") == "true"
        if (claims or pod.claims) and spec.get("replicas", 1) != 1 and not is_cluster:
            yield Problem(owner, f"has {spec['replicas']} replicas, each with files of its own", own=True)
        if claims and owner.startswith("Deployment/") and spec.get("strategy", {}).get("type") != "Recreate":
            yield Problem(owner, "its successor would start beside it, on the same files")
        stays = any(selects(term["labelSelector"], pod.labels) for term in pod.required_neighbours())
        for name in (name for name in claims if "ReadWriteMany" not in specs[name]["accessModes"]):
            owners.setdefault(name, set()).add(owner)
            if spec.get("upgradeStrategy", {}).get("type") == "NewCluster" and not stays:
                yield Problem(pod.owner, f"the disk {name} is one node's, and its successor may start on another")
    for name, users in owners.items():
        if len(users) > 1:
            yield Problem(", ".join(sorted(users)), f"share the disk {name}, which is not ReadWriteMany")
