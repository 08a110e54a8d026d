"""Overlays as `kubectl apply -k` would send them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

# One Kubernetes object as it stands in YAML.
Object = dict[str, Any]

DEPLOY = Path(__file__).parents[1]
OVERLAYS = tuple(sorted(path.name for path in (DEPLOY / "k8s" / "overlays").iterdir() if path.is_dir()))
# `production` with every component that one may switch on there; mtls stands for the tls that it brings.
OPTIONS = "production-with-options"
_OPTIONAL = (
    *(f"../../components/{name}" for name in ("mtls", "gpu-encoder", "trained-models", "gateway-route", "learner")),
    # Where Prometheus's operator is: `production` has them until somebody takes them out.
    "../../components/monitoring", "../../../monitoring",
)  # fmt: skip
# `single-node` with the one that it may have, behind the disks.
SMALL_OPTIONS = "single-node-with-options"
_SMALL_OPTIONAL = ("../../components/backup-embedded",)
_BUILD_TIMEOUT_S = 60
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BuildFailed(Exception):
    """kustomize refused a folder; the message is its own."""


def built_overlays(deploy: Path = DEPLOY) -> dict[str, list[Object]]:
    """The objects of each overlay, and of both with options. Raises BuildFailed."""
    with copied(deploy) as copy:
        return {overlay: built(overlay, copy) for overlay in (*OVERLAYS, OPTIONS, SMALL_OPTIONS)}


def built(overlay: str, deploy: Path = DEPLOY) -> list[Object]:
    """The objects of an overlay. Raises BuildFailed."""
    return objects_in(rendered(overlay, deploy))


def rendered(overlay: str, deploy: Path = DEPLOY) -> str:
    """An overlay's YAML. Raises BuildFailed."""
    outcome = subprocess.run(
        ["kubectl", "kustomize", str(deploy / "k8s" / "overlays" / overlay)],
        capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False,
    )  # fmt: skip
    if outcome.returncode != 0:
        raise BuildFailed(f"{overlay}: {outcome.stderr.strip()}")
    return outcome.stdout


def objects_in(text: str) -> list[Object]:
    return [document for document in yaml.load_all(text, _Loader) if document]


@contextmanager
def copied(deploy: Path = DEPLOY) -> Iterator[Path]:
    """A copy of deploy/ that ends with the context, and in it the overlays with options."""
    with tempfile.TemporaryDirectory(prefix="deploy-") as scratch:
        copy = Path(scratch) / "deploy"
        shutil.copytree(deploy, copy, ignore=shutil.ignore_patterns("__pycache__", "checks"))
        switch_options_on(copy)
        yield copy


def switch_options_on(deploy: Path) -> None:
    """Writes the overlays with options beside the others. Raises BuildFailed where one has no components."""
    _switch_on(deploy, "production", OPTIONS, _OPTIONAL)
    _switch_on(deploy, "single-node", SMALL_OPTIONS, _SMALL_OPTIONAL)


def _switch_on(deploy: Path, overlay: str, name: str, optional: Sequence[str]) -> None:
    overlays = deploy / "k8s" / "overlays"
    shutil.copytree(overlays / overlay, overlays / name, dirs_exist_ok=True)
    file = overlays / name / "kustomization.yaml"
    content = yaml.load(file.read_text(), _Loader)
    components = [
        path for path in content.get("components") or [] if optional is not _OPTIONAL or Path(path).name != "tls"
    ]
    if not components:
        raise BuildFailed(f"{overlay}: has no components")
    # `versions` stays last.
    components[-1:-1] = [path for path in optional if path not in components]
    file.write_text(yaml.safe_dump({**content, "components": components}))


def files_of(folder: Path) -> Iterator[Path]:
    """All files that a kustomization takes in, itself and what it names."""
    file = folder / "kustomization.yaml"
    yield file
    content = yaml.load(file.read_text(), _Loader)
    named = [*content.get("resources", []), *content.get("components", []), *content.get("configurations", [])]
    named += [patch["path"] for patch in content.get("patches", []) if "path" in patch]
    for generator in content.get("configMapGenerator", []):
        named += [*generator.get("files", []), *generator.get("envs", [])]
    for name in named:
        path = (folder / name).resolve()
        if path.is_dir():
            yield from files_of(path)
        else:
            yield path


def example_secrets(deploy: Path = DEPLOY) -> list[Object]:
    """The secrets that an overlay expects to find; `python -m deploy.secrets` fills them in."""
    return objects_in((deploy / "k8s" / "secrets.example.yaml").read_text())


def name_of(item: Object) -> str:
    return f"{item.get('kind', 'no kind')}/{item.get('metadata', {}).get('name', 'no name')}"
