"""What kustomize does not mind: a patch for nothing, a component that does nothing, an image that nobody runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.checks.build import DEPLOY, OPTIONS, Object, copied, files_of, objects_in
from deploy.checks.pods import pods_of

_TAKEN = {".yaml", ".env", ".conf", ".py"}
_DOES = {"resources", "patches", "configMapGenerator", "images"}


def kustomization_problems(overlays: Mapping[str, list[Object]], deploy: Path = DEPLOY) -> Iterator[str]:
    """One line for each; `deploy`: what the overlays were built from."""
    if not (deploy / "k8s" / "overlays" / OPTIONS).is_dir():
        with copied(deploy) as copy:
            yield from kustomization_problems(overlays, copy)
        return
    pods = [pod for objects in overlays.values() for pod in pods_of(objects)]
    images = {re.split(r"[:@]", container["image"])[0] for pod in pods for container in pod.all_containers}
    # Secrets come before an overlay, by hand.
    taken = {deploy / "k8s" / "secrets.example.yaml"}
    for overlay, objects in overlays.items():
        files = {path.resolve() for path in files_of(deploy / "k8s" / "overlays" / overlay)}
        taken |= files
        for file in sorted(path for path in files if path.name == "kustomization.yaml"):
            (content,) = objects_in(file.read_text())
            name = f"{file.parent.name}/{file.name}"
            if not any(content.get(what) for what in _DOES):
                yield f"{name} does nothing"
            for generator in content.get("configMapGenerator", []):
                if not any(generator.get(source) for source in ("literals", "files", "envs")):
                    yield f"{name}: nothing is in the config map {generator['name']}"
            for patch in content.get("patches", []):
                if "target" in patch and not _found(patch["target"], objects):
                    yield f"{name}: {patch['target']} is nothing in {overlay}"
            for image in content.get("images", []):
                if image.get("newName", image["name"]) not in images:
                    yield f"{name}: nobody runs {image['name']}"
    known = {path.resolve() for path in taken}
    for path in sorted((deploy / "k8s").rglob("*.*")):
        if path.suffix in _TAKEN and path.resolve() not in known:
            yield f"no overlay takes {path.relative_to(deploy)}"


def _found(target: Object, objects: list[Object]) -> bool:
    """`name` is a pattern, as in kustomize."""
    return any(
        item["kind"] == target.get("kind") and re.fullmatch(target.get("name", ".*"), item["metadata"]["name"])
        for item in objects
    )
