"""What is there and nobody reads: mostly the other half of a slip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deploy.checks.build import Object, name_of
from deploy.checks.pods import pods_of
from deploy.checks.references import references

_DASHBOARD = "grafana_dashboard"


def idle_problems(objects: list[Object]) -> Iterator[str]:
    """Config maps without a reader, volumes that no container mounts, dashboards that Grafana does not look for."""
    read = {name for _, what, name, _ in references(objects) if what == "config map"}
    for item in (item for item in objects if item["kind"] == "ConfigMap"):
        if any(name.endswith(".json") for name in item.get("data", {})):
            for name in item["data"]:
                if item["metadata"]["name"] != f"kairos-dashboard-{name.removesuffix('.json').replace('_', '-')}":
                    yield f"{name_of(item)}: holds {name}"
            if item["metadata"].get("labels", {}).get(_DASHBOARD) != "1":
                yield f"{name_of(item)}: Grafana looks for dashboards with the label {_DASHBOARD}: '1'"
        elif item["metadata"]["name"] not in read:
            yield f"{name_of(item)}: nobody reads it"
    for pod in pods_of(objects):
        mounted = {mount["name"] for container in pod.all_containers for mount in container.get("volumeMounts", [])}
        for volume in {*(v["name"] for v in pod.spec.get("volumes", [])), *pod.claims} - mounted:
            yield f"{pod.owner}: nobody mounts the volume {volume}"


def idle_secrets(overlays: Mapping[str, list[Object]], secrets: list[Object]) -> Iterator[str]:
    """Keys that no overlay asks for. A secret that is mounted whole is read whole."""
    read: set[tuple[str, str]] = set()
    for objects in overlays.values():
        for _, what, name, keys in references(objects):
            if what == "secret":
                whole = [
                    key for secret in secrets if secret["metadata"]["name"] == name for key in secret["stringData"]
                ]
                read |= {(name, key) for key in keys or whole}
    for secret in secrets:
        for key in secret["stringData"]:
            if (secret["metadata"]["name"], key) not in read:
                yield f"{name_of(secret)}: nobody reads {key}"
