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
_OPERATOR = Peer("KubeRay's operator", {"app.kubernetes.io/name": "kuberay-operator"}, "another-namespace")
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


@dataclass(frozen=True)
class Policies:
    """The NetworkPolicies of one namespace."""

    specs: list[Object]
    namespace: str

    def allow(self, connection: Connection, direction: str) -> bool:
        """Whether one side's policies let it pass. Those of pods outside the overlay are not known: it passes."""
        ends = (connection.source, connection.target)
        near, far = ends if direction == "Egress" else ends[::-1]
        if not isinstance(near, Pod):
            return True
        own = [s for s in self.specs if direction in s["policyTypes"] and selects(s["podSelector"], near.labels)]
        rules = [rule for spec in own for rule in spec.get(direction.lower(), [])]
        side = "to" if direction == "Egress" else "from"
        return not own or any(
            (not rule.get(side) or any(self._is(peer, far) for peer in rule[side])) and _has_port(rule, connection)
            for rule in rules
        )

    def _is(self, peer: Object, far: Pod | Peer) -> bool:
        namespace = self.namespace if isinstance(far, Pod) else far.namespace
        if namespace is None:
            return "ipBlock" in peer
        here = {"matchLabels": {_NAMESPACE_LABEL: self.namespace}}
        is_there = selects(peer.get("namespaceSelector", here), {_NAMESPACE_LABEL: namespace})
        return "ipBlock" not in peer and is_there and selects(peer.get("podSelector", {}), far.labels)


def _has_port(rule: Object, connection: Connection) -> bool:
    names = connection.target.ports if isinstance(connection.target, Pod) else {}
    ports = rule.get("ports", [])
    return not ports or any(
        port.get("protocol", "TCP") == connection.protocol and names.get(port["port"], port["port"]) == connection.port
        for port in ports
    )


def network_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each connection that is needed and closed, or open and not needed."""
    policies = Policies([item["spec"] for item in overlay.of_kind("NetworkPolicy")], overlay.namespace)
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in policies.specs:
        yield Problem("NetworkPolicy", "none closes the whole namespace", own=True)
    needed = list(_needed(overlay))
    for connection in needed:
        for direction in ("Egress", "Ingress"):
            if not policies.allow(connection, direction):
                what = f"may not reach port {connection.port} of {connection.target.owner} ({direction.lower()})"
                # Another overlay may name the namespaces and addresses of its own callers and callees.
                is_within = isinstance(connection.source, Pod) and isinstance(connection.target, Pod)
                yield Problem(connection.source.owner, what, own=not is_within)
    keys = {connection.key for connection in needed}
    for connection in _possible(overlay.pods, {key[:2] for key in keys}):
        if connection.key not in keys and all(policies.allow(connection, d) for d in ("Egress", "Ingress")):
            what = f"may reach port {connection.port} of {connection.target.owner}, and has no need to"
            yield Problem(connection.source.owner, what, own=True)


def _needed(overlay: Overlay) -> Iterator[Connection]:
    for source, target, port in connections_of(overlay):
        yield Connection(source, target, port)
    has_monitors = bool(overlay.of_kind("ServiceMonitor", "PodMonitor"))
    for pod in overlay.pods:
        yield from (Connection(pod, _DNS, 53, protocol) for protocol in ("TCP", "UDP"))
        if has_monitors and "metrics" in pod.ports:
            yield Connection(_PROMETHEUS, pod, pod.ports["metrics"])
        if pod.node_type:
            others = (other for other in overlay.pods if other.name == pod.name)
            yield from (Connection(pod, other, _RAY_CHOSEN_PORT) for other in others)
        if pod.node_type == "head":
            yield Connection(_OPERATOR, pod, pod.ports.get("dashboard", 0))
            # Ray's autoscaler asks the API server, which listens on the one or the other.
            yield from (Connection(pod, _OUTSIDE, port) for port in (443, 6443))
        if pod.name == "kairos-gateway":
            yield Connection(_OTHER_POD, pod, pod.ports.get("grpc", 0))
        # Snapshots and backups go to a bucket, traces to a store of the operator's choice.
        if pod.name in ("kairos-qdrant", "kairos-backup", "kairos-restore", _COLLECTOR):
            yield Connection(pod, _OUTSIDE, 443)
        if pod.name == _COLLECTOR:
            yield Connection(pod, _OUTSIDE, 4317)


def _possible(pods: list[Pod], callers: set[tuple[str, str]]) -> Iterator[Connection]:
    """From each pod, and from pods of other namespaces, to each pod's ports; from each pod to outside addresses."""
    for target in pods:
        ports = {*target.ports.values(), *([_RAY_CHOSEN_PORT] if target.node_type else [])}
        for source in (source for source in (*pods, _OTHER_POD) if source.name != target.name):
            # A caller of an engine may use all of its ports; traces come from all pods.
            is_caller = isinstance(source, Pod) and not target.node_type and (source.name, target.name) in callers
            if not is_caller and target.name != _COLLECTOR:
                yield from (Connection(source, target, port) for port in sorted(ports))
        yield from (Connection(target, _OUTSIDE, port) for port in (80, 443, 4317, 6443))
