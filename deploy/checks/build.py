"""Overlays as `kubectl apply -k` would send them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

# One Kubernetes object as it stands in YAML.
Object = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "k8s"
OVERLAYS = tuple(sorted(path.name for path in (FOLDER / "overlays").iterdir() if path.is_dir()))
# The secrets that an overlay expects to find; `python -m deploy.secrets` fills them in.
SECRETS_FILE = FOLDER / "secrets.example.yaml"
_BUILD_TIMEOUT_S = 60
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BuildFailed(Exception):
    """kustomize refused a folder; the message is its own."""


def built(overlay: str) -> list[Object]:
    """The objects of an overlay. Raises BuildFailed."""
    return built_folder(FOLDER / "overlays" / overlay)


def built_folder(folder: Path) -> list[Object]:
    outcome = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
    )
    if outcome.returncode != 0:
        raise BuildFailed(f"{folder.name}: {outcome.stderr.strip()}")
    return [document for document in yaml.load_all(outcome.stdout, _Loader) if document]


def example_secrets() -> list[Object]:
    return [document for document in yaml.load_all(SECRETS_FILE.read_text(), _Loader) if document]


def name_of(item: Object) -> str:
    return f"{item.get('kind', 'no kind')}/{item.get('metadata', {}).get('name', 'no name')}"
