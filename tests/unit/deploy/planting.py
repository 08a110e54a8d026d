"""How a mistake is planted into an overlay's objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from deploy.checks.build import Object

# Changes the objects; a test looks for what is said of them in the table beside it.
Mistake = Callable[[list[Object]], Any]


def find(objects: list[Object], kind: str, name: str) -> Any:
    """The object itself, to be changed. Generated config maps bear a digest behind their name."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].startswith(name)]
    assert len(found) == 1, [o["metadata"]["name"] for o in found]
    return found[0]


def gateway(objects: list[Object]) -> Any:
    return find(objects, "Deployment", "kairos-gateway")["spec"]["template"]["spec"]["containers"][0]


def stage(objects: list[Object], name: str) -> Any:
    return find(objects, "RayService", f"kairos-{name}")["spec"]


def worker(objects: list[Object], name: str) -> Any:
    return stage(objects, name)["rayClusterConfig"]["workerGroupSpecs"][0]


def edit_serve(objects: list[Object], name: str, change: Callable[[Any], None]) -> None:
    spec = stage(objects, name)
    config = yaml.safe_load(spec["serveConfigV2"])
    change(config)
    spec["serveConfigV2"] = yaml.safe_dump(config)


def labels(template: Any) -> Any:
    return template["metadata"]["labels"]


def policy(objects: list[Object], name: str) -> Any:
    return next(o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == name)["spec"]


def variables(objects: list[Object], name: str) -> Any:
    (found,) = (o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"][:-11] == name)
    return found["data"]


def pod(objects: list[Object], kind: str, name: str) -> Any:
    found = next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)["spec"]
    return found["jobTemplate"]["spec"]["template"] if kind == "CronJob" else found["template"]


def edit_file(objects: list[Object], name: str, file: str, old: str, new: str) -> None:
    """Of a config map."""
    data = find(objects, "ConfigMap", name)["data"]
    assert old in data[file]
    data[file] = data[file].replace(old, new)
