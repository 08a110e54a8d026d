"""Overlays: the objects as `kubectl apply -k` would send them, the pods that they bring up, and problems with them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from deploy.checks.serve_config import serve_config_of

# One Kubernetes object as it stands in YAML.
Object = dict[str, Any]

DEPLOY = Path(__file__).parents[1]
# Folders by name. `checked` holds overlays with every optional component, `sites` one to copy for your cluster.
OVERLAYS = {
    path.name: path
    for pattern in ("overlays/*", "checked/*", "sites/example")
    for path in sorted((DEPLOY / "k8s").glob(pattern))
}


class BuildFailed(Exception):
    """kustomize refused a folder; the message is its own."""


def built(overlay: str) -> list[Object]:
    """The objects of one of our overlays, by its name. Raises BuildFailed."""
    return built_folder(OVERLAYS[overlay])


def built_folder(folder: Path) -> list[Object]:
    """The objects that a folder with a kustomization.yaml gives. Raises BuildFailed."""
    outcome = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if outcome.returncode != 0:
        raise BuildFailed(f"{folder}: {outcome.stderr.strip()}")
    return objects_in(outcome.stdout)


def objects_in(text: str) -> list[Object]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, loader) if document]


def example_secrets() -> list[Object]:
    """The secrets that an overlay expects in its namespace; `python -m deploy.secrets` fills them in."""
    return objects_in((DEPLOY / "k8s" / "secrets.example.yaml").read_text())


def name_of(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


@dataclass(frozen=True)
class Problem:
    """`where`: an object, or a part of it. `own`: a rule of this repository's overlays, a warning in another one."""

    where: str
    what: str
    own: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Pod:
    """One pod template. `owner`: its workload; `labels`: those of the running pod; `claims`: of a StatefulSet;
    `serves`: Serve's replicas run in it.
    """

    owner: str
    labels: Mapping[str, str]
    spec: Object
    claims: frozenset[str] = frozenset()
    serves: bool = False

    @property
    def name(self) -> str:
        """The workload's name. Head and workers of a RayService share one."""
        return self.owner.partition("/")[2].split(" ")[0]

    @property
    def containers(self) -> list[Object]:
        """Without init containers."""
        containers: list[Object] = self.spec["containers"]
        return containers

    @property
    def all_containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.containers]

    @property
    def ports(self) -> dict[str, int]:
        """Number of each named port."""
        ports = [port for container in self.containers for port in container.get("ports", [])]
        return {port["name"]: port["containerPort"] for port in ports if "name" in port}

    @property
    def node_type(self) -> str | None:
        """Of a RayService's pods: head or worker."""
        return self.labels.get("ray.io/node-type")

    def has_port(self, port: str | int) -> bool:
        return port in self.ports or port in self.ports.values()

    def claim_names(self) -> list[str]:
        """The PersistentVolumeClaims that it mounts."""
        volumes = self.spec.get("volumes", [])
        return [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]

    def required_neighbours(self) -> list[Object]:
        """The terms of its required podAffinity."""
        affinity = self.spec.get("affinity", {}).get("podAffinity", {})
        terms: list[Object] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        return terms


@dataclass(frozen=True)
class Overlay:
    """The objects of a built overlay. `secrets` exist in the namespace before it is applied."""

    objects: list[Object]
    secrets: list[Object] = field(default_factory=example_secrets)

    def of_kind(self, *kinds: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] in kinds]

    @cached_property
    def pods(self) -> list[Pod]:
        return [pod for item in self.objects for pod in _pods(item)]

    @cached_property
    def config_maps(self) -> dict[str, Object]:
        """The data of each, by its name."""
        return {item["metadata"]["name"]: item.get("data", {}) for item in self.of_kind("ConfigMap")}

    @cached_property
    def secret_keys(self) -> dict[str, set[str]]:
        """The keys of each secret, by its name: of the overlay's own and of those that exist before."""
        secrets = (*self.of_kind("Secret"), *self.secrets)
        return {item["metadata"]["name"]: {*item.get("data", {}), *item.get("stringData", {})} for item in secrets}

    @cached_property
    def serve_configs(self) -> dict[str, Any]:
        """Ray's ServeDeploySchema of each RayService, by its name. Raises WrongServeConfig."""
        return {item["metadata"]["name"]: serve_config_of(item) for item in self.of_kind("RayService")}

    def pods_behind(self, service: Object) -> list[Pod]:
        """None behind a Service without a selector: its addresses come from elsewhere."""
        selector = service["spec"].get("selector")
        return [pod for pod in self.pods if selector and selects({"matchLabels": selector}, pod.labels)]

    def environment(self, container: Object) -> dict[str, str | None]:
        """A container's variables; None for a value that only the cluster knows: a secret's, the pod's own name."""
        found: dict[str, str | None] = {}
        for source in container.get("envFrom", []):
            secret = self.secret_keys.get(source.get("secretRef", {}).get("name", ""), ())
            data = self.config_maps.get(source.get("configMapRef", {}).get("name", ""), dict.fromkeys(secret))
            found |= {source.get("prefix", "") + name: value for name, value in data.items()}
        return found | {variable["name"]: variable.get("value") for variable in container.get("env", [])}


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes a pod with these labels."""
    operators: dict[str, Callable[[str | None, list[str]], bool]] = {
        "In": lambda value, values: value in values, "NotIn": lambda value, values: value not in values,
        "Exists": lambda value, _: value is not None, "DoesNotExist": lambda value, _: value is None,
    }  # fmt: skip
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        operators[expression["operator"]](labels.get(expression["key"]), expression.get("values", []))
        for expression in selector.get("matchExpressions", [])
    )


def _pods(item: Object) -> Iterator[Pod]:
    spec, owner = item.get("spec", {}), name_of(item)
    match item["kind"]:
        case "Deployment" | "DaemonSet" | "Job":
            yield _pod(owner, spec["template"])
        case "StatefulSet":
            claims = frozenset(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", []))
            yield _pod(owner, spec["template"], claims=claims)
        case "CronJob":
            yield _pod(owner, spec["jobTemplate"]["spec"]["template"])
        case "RayService":
            cluster = spec["rayClusterConfig"]
            workers = cluster.get("workerGroupSpecs", [])
            yield _pod(f"{owner} head", cluster["headGroupSpec"]["template"], "head", serves=not workers)
            for group in workers:
                yield _pod(f"{owner} workers", group["template"], "worker", serves=True)


def _pod(
    owner: str, template: Object, node_type: str | None = None, claims: frozenset[str] = frozenset(),
    serves: bool = False,
) -> Pod:  # fmt: skip
    own = {"ray.io/node-type": node_type} if node_type else {}
    return Pod(owner, template.get("metadata", {}).get("labels", {}) | own, template["spec"], claims, serves)
