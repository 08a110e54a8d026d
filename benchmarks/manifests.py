"""What benchmarks read from a built overlay: `kubectl kustomize deploy/k8s/overlays/production > production.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

# One Kubernetes object.
Object = dict[str, Any]


def read_objects(path: Path) -> list[Object]:
    """Raises OSError, and yaml.YAMLError for a file of another form."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def serve_applications(objects: list[Object]) -> Iterator[dict[str, Any]]:
    """The applications of all RayServices, in Serve's own form."""
    for item in objects:
        if item["kind"] == "RayService":
            yield from yaml.safe_load(item["spec"]["serveConfigV2"])["applications"]
