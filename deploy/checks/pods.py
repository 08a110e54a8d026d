"""The pods that an overlay's objects bring up, whoever owns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deploy.checks.build import Object, name_of


@dataclass(frozen=True)
class Pod:
    """One pod template. `owner` says where it stands; `labels` are those that it has once it runs."""

    owner: str
    labels: Mapping[str, str]
    spec: Object
    claims: frozenset[str] = field(default_factory=frozenset)

    @property
    def containers(self) -> list[Object]:
        """Those that serve, without the ones that prepare."""
        containers: list[Object] = self.spec["containers"]
        return containers

    @property
    def all_containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.containers]

    @property
    def ports(self) -> dict[str, int]:
        """Number of each named port."""
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container.get("ports", [])
            if "name" in port
        }

    def has_port(self, port: str | int) -> bool:
        return port in self.ports or port in self.ports.values()


def pods_of(objects: list[Object]) -> list[Pod]:
    return [pod for item in objects for pod in _pods(item)]


def is_head(pod: Pod) -> bool:
    return pod.labels.get("ray.io/node-type") == "head"


def _pods(item: Object) -> Iterator[Pod]:
    spec, owner = item.get("spec", {}), name_of(item)
    match item.get("kind"):
        case "Deployment" | "DaemonSet" | "Job":
            yield _pod(owner, spec["template"])
        case "StatefulSet":
            claims = frozenset(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", []))
            yield _pod(owner, spec["template"], claims=claims)
        case "CronJob":
            yield _pod(owner, spec["jobTemplate"]["spec"]["template"])
        case "RayService":
            cluster = spec["rayClusterConfig"]
            yield _pod(f"{owner} head", cluster["headGroupSpec"]["template"], {"ray.io/node-type": "head"})
            for group in cluster["workerGroupSpecs"]:
                yield _pod(f"{owner} workers", group["template"], {"ray.io/node-type": "worker"})


def _pod(
    owner: str, template: Object, labels: Mapping[str, str] | None = None, claims: frozenset[str] = frozenset()
) -> Pod:
    return Pod(owner, {**template.get("metadata", {}).get("labels", {}), **(labels or {})}, template["spec"], claims)


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector (matchLabels, matchExpressions In and Exists) takes a pod with these labels."""
    wanted = selector.get("matchLabels", {}).items()
    expressions = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in wanted) and all(
        expression["key"] in labels
        and (expression["operator"] == "Exists" or labels[expression["key"]] in expression["values"])
        for expression in expressions
    )


def config_maps_of(objects: list[Object]) -> dict[str, Object]:
    """By name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == "ConfigMap"}


def environment(container: Object, config_maps: Mapping[str, Object]) -> dict[str, str | None]:
    """What the container finds in its environment; None for what only the cluster knows: secrets, its own name."""
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        data = config_maps.get(source.get("configMapRef", {}).get("name", ""), {}).get("data", {})
        found.update({source.get("prefix", "") + name: value for name, value in data.items()})
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value")
    return found
