"""What kustomize does not mind: a patch for nothing, a component that does nothing, an image that nobody runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.checks.build import DEPLOY, Object, files_of, objects_in
from deploy.checks.pods import pods_of

_DOES = {"resources", "patches", "configMapGenerator", "images"}


def kustomization_problems(overlays: Mapping[str, list[Object]], deploy: Path = DEPLOY) -> Iterator[str]:
    pods = [pod for objects in overlays.values() for pod in pods_of(objects)]
    images = {re.split(r"[:@]", container["image"])[0] for pod in pods for container in pod.all_containers}
    for overlay, objects in overlays.items():
        # What is made of `production` has no folder of its own, but in a copy.
        folder = deploy / "k8s" / "overlays" / overlay
        if not folder.is_dir():
            continue
        for file in (path for path in files_of(folder) if path.name == "kustomization.yaml" and path.is_file()):
            (content,) = objects_in(file.read_text())
            name = f"{file.parent.name}/{file.name}"
            if not any(content.get(what) for what in _DOES):
                yield f"{name} does nothing"
            for patch in content.get("patches", []):
                if "target" in patch and not _found(patch["target"], objects):
                    yield f"{name}: {patch['target']} is nothing in {overlay}"
            for image in content.get("images", []):
                if image.get("newName", image["name"]) not in images:
                    yield f"{name}: nobody runs {image['name']}"


def _found(target: Object, objects: list[Object]) -> bool:
    """`name` is a pattern, as in kustomize."""
    return any(
        item["kind"] == target.get("kind") and re.fullmatch(target.get("name", ".*"), item["metadata"]["name"])
        for item in objects
    )
