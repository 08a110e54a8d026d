"""Network policies against the connections that are needed.

What a pod names of another, and what Ray, Prometheus and the cluster's own parts need, must be open in both
directions; Ray's ports and the engines' must be open to no other pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deploy.checks.addresses import connections_of
from deploy.checks.build import Object, Overlay, Pod, Problem, selects

# A port that Ray chose by itself, as it does for its workers.
_RAY_CHOSEN_PORT = 10_002
_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_COLLECTOR = "kairos-otel-collector"
# What sends to an object store, or to a store of traces.
_WITH_BUCKET = ("kairos-qdrant", "kairos-backup", "kairos-restore", "kairos-postgres-backup", _COLLECTOR)


@dataclass(frozen=True)
class Peer:
    """A caller or callee outside the overlay. No namespace: outside the cluster as well."""

    owner: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None

    @property
    def name(self) -> str:
        return self.owner


_DNS = Peer("the cluster's DNS", {"k8s-app": "kube-dns"}, "kube-system")
# As its Helm chart installs it, and as its kustomization does.
_OPERATORS = tuple(
    Peer(f"KubeRay's operator ({name})", {"app.kubernetes.io/name": name}, "another-namespace")
    for name in ("kuberay-operator", "kuberay")
)
_PROMETHEUS = Peer("Prometheus", namespace="monitoring")
_OTHER_POD = Peer("a pod of another namespace", namespace="another-namespace")
_OUTSIDE = Peer("an address outside the cluster")


@dataclass(frozen=True)
class Connection:
    """`source` opens a connection to a port of `target`."""

    source: Pod | Peer
    target: Pod | Peer
    port: int
    protocol: str = "TCP"

    @property
    def key(self) -> tuple[str, str, int]:
        """A RayService's head and workers count as one."""
        return self.source.name, self.target.name, self.port


def network_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each connection that is needed and closed, or open and not needed."""
    policies = overlay.of_kind("NetworkPolicy")
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in [policy["spec"] for policy in policies]:
        yield Problem("NetworkPolicy", "none closes the whole namespace", own=True)
    needed = list(_needed(overlay))
    for connection in needed:
        for direction in ("Egress", "Ingress"):
            if not _allowed(connection, direction, policies):
                what = f"may not reach port {connection.port} of {connection.target.owner} ({direction.lower()})"
                # Another overlay may name the namespaces and addresses of its own callers and callees.
                is_within = isinstance(connection.source, Pod) and isinstance(connection.target, Pod)
                yield Problem(connection.source.owner, what, own=not is_within)
    keys = {connection.key for connection in needed}
    for connection in _possible(overlay.pods, {key[:2] for key in keys}):
        if connection.key not in keys and all(_allowed(connection, d, policies) for d in ("Egress", "Ingress")):
            what = f"may reach port {connection.port} of {connection.target.owner}, and has no need to"
            yield Problem(connection.source.owner, what, own=True)


def _needed(overlay: Overlay) -> Iterator[Connection]:
    yield from (Connection(source, target, port) for source, _, target, port in connections_of(overlay))
    has_monitors = bool(overlay.of_kind("ServiceMonitor", "PodMonitor"))
    for pod in overlay.pods:
        yield from (Connection(pod, _DNS, 53, protocol) for protocol in ("TCP", "UDP"))
        if has_monitors and "metrics" in pod.ports:
            yield Connection(_PROMETHEUS, pod, pod.ports["metrics"])
        for monitor in overlay.of_kind("PodMonitor"):
            if selects(monitor["spec"]["selector"], pod.labels):
                ports = (endpoint.get("port") for endpoint in monitor["spec"].get("podMetricsEndpoints", []))
                yield from (Connection(_PROMETHEUS, pod, pod.ports[port]) for port in ports if port in pod.ports)
        if pod.node_type:
            others = (other for other in overlay.pods if other.name == pod.name)
            yield from (Connection(pod, other, _RAY_CHOSEN_PORT) for other in others)
        if pod.node_type == "head":
            yield from (Connection(operator, pod, pod.ports.get("dashboard", 0)) for operator in _OPERATORS)
            # Ray's autoscaler asks the API server, by the port of its Service.
            yield Connection(pod, _OUTSIDE, 443)
        if "p2p" in pod.ports:
            yield Connection(pod, pod, pod.ports["p2p"])
        if pod.name == "kairos-gateway":
            yield Connection(_OTHER_POD, pod, pod.ports.get("grpc", 0))
        # Snapshots and backups go to a bucket, models and the audit to an object store, traces to a store of the
        # operator's choice.
        variables = {name for one in pod.all_containers for name in overlay.environment(one)}
        has_store = any(name.endswith(("_REGISTRY_URL", "_ARCHIVE_URL")) for name in variables)
        if has_store or pod.name in _WITH_BUCKET:
            yield Connection(pod, _OUTSIDE, 443)
        if pod.name == _COLLECTOR:
            yield Connection(pod, _OUTSIDE, 4317)


def _possible(pods: list[Pod], callers: set[tuple[str, str]]) -> Iterator[Connection]:
    """From each pod, and from pods of other namespaces, to each pod's ports; from each pod to outside addresses."""
    sources: tuple[Pod | Peer, ...] = (*pods, _OTHER_POD)
    for target in pods:
        ports = {*target.ports.values(), *([_RAY_CHOSEN_PORT] if target.node_type else [])}
        for source in (source for source in sources if source.name != target.name):
            # A caller of an engine may use all of its ports; traces come from all pods.
            is_caller = isinstance(source, Pod) and not target.node_type and (source.name, target.name) in callers
            if not is_caller and target.name != _COLLECTOR:
                yield from (Connection(source, target, port) for port in sorted(ports))
        # Heads reach the API server, whose own port differs between clusters.
        if target.node_type != "head":
            yield from (Connection(target, _OUTSIDE, port) for port in (80, 443, 4317, 6443))


def _allowed(connection: Connection, direction: str, policies: list[Object]) -> bool:
    """Whether one side's policies let it pass. Those of pods outside the overlay are not known: it passes."""
    ends = (connection.source, connection.target)
    near, far = ends if direction == "Egress" else ends[::-1]
    if not isinstance(near, Pod):
        return True
    side, is_open = "to" if direction == "Egress" else "from", True
    for policy in policies:
        spec, namespace = policy["spec"], policy["metadata"].get("namespace", "default")
        if direction in spec.get("policyTypes", ["Ingress"]) and selects(spec["podSelector"], near.labels):
            is_open = False
            for rule in (rule for rule in spec.get(direction.lower(), []) if _has_port(rule, connection)):
                if not rule.get(side) or any(_is(peer, far, namespace) for peer in rule[side]):
                    return True
    return is_open


def _is(peer: Object, far: Pod | Peer, own_namespace: str) -> bool:
    namespace = own_namespace if isinstance(far, Pod) else far.namespace
    if "ipBlock" in peer or namespace is None:
        return "ipBlock" in peer and namespace is None
    here = {"matchLabels": {_NAMESPACE_LABEL: own_namespace}}
    is_there = selects(peer.get("namespaceSelector", here), {_NAMESPACE_LABEL: namespace})
    return is_there and selects(peer.get("podSelector", {}), far.labels)


def _has_port(rule: Object, connection: Connection) -> bool:
    names = connection.target.ports if isinstance(connection.target, Pod) else {}
    return not rule.get("ports") or any(
        port.get("protocol", "TCP") == connection.protocol and names.get(port["port"], port["port"]) == connection.port
        for port in rule["ports"]
    )
