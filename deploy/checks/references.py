"""What one object names of another: config maps, secrets, disks, ports, pods, services."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from deploy.checks.build import Object, name_of
from deploy.checks.pods import Pod, pods_of, selects

# Named by a policy or a monitor, and not ours: KubeRay's operator.
_STRANGERS = ({"app.kubernetes.io/name": "kuberay-operator"}, {"k8s-app": "kube-dns"})


def reference_problems(objects: list[Object], secrets: list[Object]) -> Iterator[str]:
    """One line for each name that leads nowhere. `secrets`: those that somebody makes before the overlay is applied."""
    pods = pods_of(objects)
    yield from chain(
        _configuration(objects, secrets, pods),
        _probes(pods),
        _neighbours(pods),
        _services(objects, pods),
        _policies(objects, pods),
        _targets(objects),
        _monitors(objects, pods),
        _routes(objects),
    )


def _configuration(objects: list[Object], secrets: list[Object], pods: list[Pod]) -> Iterator[str]:
    known = {
        "config map": {o["metadata"]["name"]: {*o.get("data", {})} for o in objects if o["kind"] == "ConfigMap"},
        "secret": {
            o["metadata"]["name"]: {*o.get("data", {}), *o.get("stringData", {})}
            for o in (*objects, *secrets)
            if o["kind"] == "Secret"
        },
    }
    claims = {o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"}
    for pod in pods:
        # Neither is among our objects: somebody would have to make them first.
        for field in ("serviceAccountName", "priorityClassName"):
            if field in pod.spec:
                yield f"{pod.owner}: there is no {field} {pod.spec[field]}"
    for owner, what, name, keys in references(objects):
        if name not in known[what]:
            yield f"{owner}: there is no {what} {name}"
        else:
            yield from (f"{owner}: {what} {name} has no key {key}" for key in keys if key not in known[what][name])
    for pod in pods:
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | pod.claims
        for volume in pod.spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{pod.owner}: there is no disk {claim}"
        for container in pod.all_containers:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{pod.owner}: {container['name']} mounts {mount['name']}, which is no volume of the pod"


def references(objects: list[Object]) -> Iterator[tuple[str, str, str, list[str]]]:
    """(whose, "config map" or "secret", its name, the keys that are read one by one; none where all are)."""
    yield from chain(_pod_references(pods_of(objects)), _credentials(objects))


def _pod_references(pods: list[Pod]) -> Iterator[tuple[str, str, str, list[str]]]:
    for pod in pods:
        yield from ((pod.owner, "secret", secret["name"], []) for secret in pod.spec.get("imagePullSecrets", []))
        for container in pod.all_containers:
            for source in container.get("envFrom", []):
                for field, what in (("configMapRef", "config map"), ("secretRef", "secret")):
                    if field in source:
                        yield pod.owner, what, source[field]["name"], []
            for variable in container.get("env", []):
                yield from _of_source(pod.owner, variable.get("valueFrom", {}))
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                items = volume["configMap"].get("items", [])
                yield pod.owner, "config map", volume["configMap"]["name"], [item["key"] for item in items]
            if "secret" in volume:
                items = volume["secret"].get("items", [])
                yield pod.owner, "secret", volume["secret"]["secretName"], [item["key"] for item in items]


def _credentials(objects: list[Object]) -> Iterator[tuple[str, str, str, list[str]]]:
    for item in objects:
        if item["kind"] == "RayService":
            options = item["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions", {})
            yield from _of_source(name_of(item), options.get("redisPassword", {}).get("valueFrom", {}))


def _of_source(owner: str, source: Object) -> Iterator[tuple[str, str, str, list[str]]]:
    for field, what in (("configMapKeyRef", "config map"), ("secretKeyRef", "secret")):
        if field in source:
            yield owner, what, source[field]["name"], [source[field]["key"]]


def _probes(pods: list[Pod]) -> Iterator[str]:
    for pod in pods:
        # Ray's agent listens on a port that KubeRay knows and no container declares.
        agent = 52365 if "ray.io/node-type" in pod.labels else None
        for container in pod.containers:
            for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
                for way in ("httpGet", "tcpSocket", "grpc"):
                    port = container.get(kind, {}).get(way, {}).get("port")
                    if port is not None and port != agent and not pod.has_port(port):
                        yield f"{pod.owner}: the {kind} asks port {port}, which the pod does not have"


def _neighbours(pods: list[Pod]) -> Iterator[str]:
    """A pod that must stand beside others which there are not would wait for ever."""
    for pod in pods:
        wanted = pod.spec.get("affinity", {}).get("podAffinity", {})
        for term in wanted.get("requiredDuringSchedulingIgnoredDuringExecution", []):
            if not any(selects(term["labelSelector"], other.labels) for other in pods):
                yield f"{pod.owner}: must be beside {term['labelSelector']}, and there is no such pod"


def _services(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    for service in (o for o in objects if o["kind"] == "Service"):
        behind = [pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        if not behind:
            yield f"{name_of(service)}: selects no pod"
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in behind:
                if not pod.has_port(target):
                    yield f"{name_of(service)}: port {port['name']} leads to {target}, which {pod.owner} does not have"


def _policies(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    """Ports only: that a policy selects anything at all depends on the overlay (`idle_policies`)."""
    for policy in (o for o in objects if o["kind"] == "NetworkPolicy"):
        own = [pod for pod in pods if selects(policy["spec"]["podSelector"], pod.labels)]
        rules = [(rule, own) for rule in policy["spec"].get("ingress", [])]
        for rule in policy["spec"].get("egress", []):
            peers = [peer["podSelector"] for peer in rule.get("to", []) if "podSelector" in peer]
            rules.append((rule, [pod for pod in pods if any(selects(peer, pod.labels) for peer in peers)]))
        for rule, receivers in rules:
            for port in rule.get("ports", []):
                if receivers and not any(pod.has_port(port["port"]) for pod in receivers):
                    yield f"{name_of(policy)}: no pod behind it has the port {port['port']}"


def idle_policies(overlays: list[list[Object]]) -> list[str]:
    """Policies and peers that select no pod in any overlay that has them: a slip in a label closes without a word."""
    selected: dict[str, bool] = {}
    for objects in overlays:
        pods = pods_of(objects)
        for policy in (o for o in objects if o["kind"] == "NetworkPolicy"):
            spec = policy["spec"]
            peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
            peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
            selectors = [spec["podSelector"], *(peer["podSelector"] for peer in peers if "podSelector" in peer)]
            for selector in selectors:
                if selector.get("matchLabels") in _STRANGERS:
                    continue
                line = f"{name_of(policy)}: {selector} selects no pod in any overlay"
                selected[line] = selected.get(line, False) or any(selects(selector, pod.labels) for pod in pods)
    return [line for line, found in selected.items() if not found]


def _targets(objects: list[Object]) -> Iterator[str]:
    """What an autoscaler scales and a disruption budget guards."""
    names, pods = {name_of(item) for item in objects}, pods_of(objects)
    for item in objects:
        if item["kind"] == "HorizontalPodAutoscaler":
            target = item["spec"]["scaleTargetRef"]
            if f"{target['kind']}/{target['name']}" not in names:
                yield f"{name_of(item)}: there is no {target['kind']} {target['name']}"
        if item["kind"] == "PodDisruptionBudget" and not any(selects(item["spec"]["selector"], p.labels) for p in pods):
            yield f"{name_of(item)}: selects no pod"


def _monitors(objects: list[Object], pods: list[Pod]) -> Iterator[str]:
    services = [o for o in objects if o["kind"] == "Service"]
    for item in objects:
        spec = item.get("spec", {})
        if item["kind"] == "ServiceMonitor":
            found = [s for s in services if selects(spec["selector"], s["metadata"].get("labels", {}))]
            ports = {port["name"] for service in found for port in service["spec"]["ports"]}
            endpoints = spec["endpoints"]
        elif item["kind"] == "PodMonitor":
            ports = {name for pod in pods if selects(spec["selector"], pod.labels) for name in pod.ports}
            endpoints = spec["podMetricsEndpoints"]
        else:
            continue
        for endpoint in endpoints:
            if endpoint["port"] not in ports:
                yield f"{name_of(item)}: nothing that it selects has a port {endpoint['port']}"


def _routes(objects: list[Object]) -> Iterator[str]:
    services = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Service"}
    for route in (o for o in objects if o["kind"] == "GRPCRoute"):
        for backend in (backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
            service = services.get(backend["name"])
            if service is None:
                yield f"{name_of(route)}: there is no service {backend['name']}"
            elif backend["port"] not in {port["port"] for port in service["spec"]["ports"]}:
                yield f"{name_of(route)}: service {backend['name']} has no port {backend['port']}"
