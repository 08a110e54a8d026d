"""Who may talk to whom by the network policies, against who has to.

What a pod names of another, and what Ray, Prometheus and the cluster's own parts need, must be open in both directions;
Ray's ports and the engines' must be open to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.checks.addresses import addresses_of
from deploy.checks.build import Object, name_of
from deploy.checks.pods import Pod, pods_of, selects

# A port that Ray chose by itself, as it does for its workers.
_ANY_PORT = 10_002
_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_OURS = "kairos"
# Of callers' namespaces we know nothing.
_ANYWHERE: Object = {"namespaceSelector": {}}
_COLLECTOR = "kairos-otel-collector"


@dataclass(frozen=True)
class Peer:
    """Somebody outside the overlay. No namespace: outside the cluster as well."""

    owner: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None


_DNS = Peer("the cluster's DNS", {"k8s-app": "kube-dns"}, "kube-system")
_OPERATOR = Peer("KubeRay's operator", {"app.kubernetes.io/name": "kuberay-operator"}, "anywhere")
_PROMETHEUS = Peer("Prometheus", namespace="monitoring")
_STRANGER = Peer("a stranger", namespace="anywhere")
_WORLD = Peer("the world outside")


@dataclass(frozen=True)
class Call:
    """`by` opens a connection to a port of `to`; the other end is `outside` where it is no pod of ours."""

    by: Pod | Peer
    to: Pod | Peer
    port: int
    protocol: str = "TCP"


def network_problems(objects: list[Object]) -> Iterator[str]:
    """One line for each connection that is needed and closed, or open and needed by nobody."""
    pods, policies = pods_of(objects), [item for item in objects if item["kind"] == "NetworkPolicy"]
    needed = list(_needed(objects, pods))
    for call in needed:
        for direction in ("Egress", "Ingress"):
            if not _allowed(call, direction, policies):
                yield f"{call.by.owner} may not reach port {call.port} of {call.to.owner} ({direction.lower()})"
    yield from _too_open(pods, policies, needed)
    yield from _careless(policies)
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in [policy["spec"] for policy in policies]:
        yield "no policy closes the whole namespace"


def _too_open(pods: list[Pod], policies: Sequence[Object], needed: list[Call]) -> Iterator[str]:
    wanted = {(_owner(call.by), _owner(call.to), call.port) for call in needed}
    for call in _possible(pods, {(by, to) for by, to, _ in wanted}):
        if (_owner(call.by), _owner(call.to), call.port) not in wanted and all(
            _allowed(call, direction, policies) for direction in ("Egress", "Ingress")
        ):
            yield f"{call.by.owner} may reach port {call.port} of {call.to.owner}, and has no need to"


def _possible(pods: list[Pod], callers: set[tuple[str, str]]) -> Iterator[Call]:
    """From pods to each other's ports, from strangers to pods, from pods to the world outside."""
    strangers: tuple[Pod | Peer, ...] = (*pods, _STRANGER)
    for server in pods:
        name, is_ray = _owner(server), "ray.io/node-type" in server.labels
        for client in (client for client in strangers if _owner(client) != name):
            # A caller of an engine may use all of its ports; traces come from everybody.
            may = name == _COLLECTOR or (not is_ray and (_owner(client), name) in callers and client != _STRANGER)
            if not may:
                ports = {*server.ports.values(), *([_ANY_PORT] if is_ray else [])}
                yield from (Call(client, server, port) for port in sorted(ports))
        yield from (Call(server, _WORLD, port) for port in (80, 443, 4317, 6443))


def _needed(objects: list[Object], pods: list[Pod]) -> Iterator[Call]:
    ours = {_owner(pod): pod for pod in pods}
    for client, server, port in addresses_of(objects):
        yield Call(client, server, port)
    has_monitors = any(item["kind"] in ("ServiceMonitor", "PodMonitor") for item in objects)
    for pod in pods:
        yield from (Call(pod, _DNS, 53, protocol) for protocol in ("TCP", "UDP"))
        if has_monitors and "metrics" in pod.ports:
            yield Call(_PROMETHEUS, pod, pod.ports["metrics"])
        if "ray.io/node-type" in pod.labels:
            for other in (other for other in pods if _owner(other) == _owner(pod)):
                yield Call(pod, other, _ANY_PORT)
        if pod.labels.get("ray.io/node-type") == "head":
            yield Call(_OPERATOR, pod, pod.ports.get("dashboard", 0))
            # Ray's autoscaler asks the API server, which listens on the one or the other.
            yield from (Call(pod, _WORLD, port) for port in (443, 6443))
    if gateway := ours.get("kairos-gateway"):
        yield Call(_STRANGER, gateway, gateway.ports.get("grpc", 0))
    for name, ports in (
        ("kairos-qdrant", (443,)), ("kairos-backup", (443,)), ("kairos-restore", (443,)), (_COLLECTOR, (443, 4317)),
    ):  # fmt: skip
        # Snapshots and backups go to a bucket, traces to wherever they live.
        if name in ours:
            yield from (Call(ours[name], _WORLD, port) for port in ports)


def _allowed(call: Call, direction: str, policies: Sequence[Object]) -> bool:
    """Whether one side's policies let the call pass. Of who is not ours, nothing is known: it passes."""
    near, far = (call.by, call.to) if direction == "Egress" else (call.to, call.by)
    if not isinstance(near, Pod):
        return True
    specs = [policy["spec"] for policy in policies]
    own = [s for s in specs if direction in s["policyTypes"] and selects(s["podSelector"], near.labels)]
    rules = [rule for spec in own for rule in spec.get(direction.lower(), [])]
    side = "to" if direction == "Egress" else "from"
    return not own or any(_reaches(rule, side, far) and _has_port(rule, call) for rule in rules)


def _reaches(rule: Object, side: str, far: Pod | Peer) -> bool:
    peers = rule.get(side, [])
    return not peers or any(_is(peer, far) for peer in peers)


def _is(peer: Object, far: Pod | Peer) -> bool:
    namespace = far.namespace if isinstance(far, Peer) else _OURS
    if namespace is None:
        return False
    ours = {"matchLabels": {_NAMESPACE_LABEL: _OURS}}
    return selects(peer.get("namespaceSelector", ours), {_NAMESPACE_LABEL: namespace}) and selects(
        peer.get("podSelector", {}), far.labels
    )


def _has_port(rule: Object, call: Call) -> bool:
    names = call.to.ports if isinstance(call.to, Pod) else {}
    ports = rule.get("ports", [])
    return not ports or any(
        port.get("protocol", "TCP") == call.protocol and names.get(port["port"], port["port"]) == call.port
        for port in ports
    )


def _owner(end: Pod | Peer) -> str:
    """A RayService's head and workers are one."""
    return end.owner.partition("/")[2].split(" ")[0] if isinstance(end, Pod) else end.owner


def _careless(policies: Sequence[Object]) -> Iterator[str]:
    """A policy names no namespace but the cluster's own and Prometheus's; what it opens to all is a port by number."""
    known = {(_NAMESPACE_LABEL, peer.namespace) for peer in (_DNS, _PROMETHEUS)}
    for policy in policies:
        spec, name = policy["spec"], name_of(policy)
        for side, rule in (*_rules(spec, "from", "ingress"), *_rules(spec, "to", "egress")):
            ports = [port["port"] for port in rule.get("ports") or [{"port": "all"}]]
            for peer in rule.get(side, []):
                for label, value in peer.get("namespaceSelector", {}).get("matchLabels", {}).items():
                    if (label, value) not in known:
                        yield f"{name}: nobody we know lives in a namespace with {label}: {value}"
                if peer != _ANYWHERE and not any(_narrows(selector) for selector in peer.values()):
                    yield f"{name}: {peer} is everybody"
            if "all" in ports and [peer.get("podSelector") for peer in rule.get(side, [])] != [spec["podSelector"]]:
                yield f"{name}: opens all ports to others than the pods themselves"
            if not rule.get(side) and not all(isinstance(port, int) for port in ports):
                yield f"{name}: opens named ports, or all, to everybody"
            if not _narrows(spec["podSelector"]) and set(ports) != {53}:
                yield f"{name}: opens more than names to all pods"


def _narrows(selector: Object) -> bool:
    return any(selector.values())


def _rules(spec: Object, side: str, direction: str) -> list[tuple[str, Object]]:
    return [(side, rule) for rule in spec.get(direction, [])]
