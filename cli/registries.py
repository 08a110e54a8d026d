"""The registries of a tenant's models, and the names of versions: `shopper/0003`, `ranking/0003`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ops.settings import SuiteSettings
from services.common.context import check_tenant
from services.common.models.registry import ModelRegistry
from services.common.settings import load_settings
from services.ranker.models.served_shoppers import FOLDER

SHOPPER, RANKING = "shopper", "ranking"
KINDS = (SHOPPER, RANKING)
# The name of the scoring function that needs no training. In the registry of the ranking networks its name is empty.
BUILT_IN = "built-in"
Kind = Annotated[
    str,
    typer.Option(help="Kind of the model: shopper or ranking.", show_default="by the name of the version, or both"),
]


@dataclass(frozen=True)
class Kept:
    """The registry of one kind of model."""

    kind: str
    registry: ModelRegistry

    def name(self, version: str) -> str:
        if version:
            return f"{self.kind}/{version}"
        return BUILT_IN if self.kind == RANKING else "none"


def registries(registry: Path | None, data_dir: Path | None, tenant: str, kind: str) -> list[Kept]:
    """Of the chosen kind, or of both. Raises ValueError for an unknown kind."""
    if kind and kind not in KINDS:
        raise ValueError(f"--kind {kind} is unknown; use {' or '.join(KINDS)}")
    state = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    folder, url = registry or state / "ranker" / "models", os.environ.get("KAIROS_RANKER_REGISTRY_URL", "")
    check_tenant(tenant, "--tenant")
    kept = [Kept(SHOPPER, _registry(folder, url, tenant, FOLDER)), Kept(RANKING, _registry(folder, url, tenant))]
    return [each for each in kept if kind in ("", each.kind)]


def _registry(folder: Path, url: str, *names: str) -> ModelRegistry:
    if not url:
        return ModelRegistry(folder.joinpath(*names))
    # Imported here: without an object store, fsspec is not needed.
    from services.common.models.registry_mirror import registry_at

    found = registry_at(folder, url, *names)
    found.repair()
    return found


def chosen(kept: list[Kept], text: str) -> tuple[Kept, str]:
    """The registry and the name in it: `shopper/0003`, or 0003, 3 and learned@0003, if they name one version only.

    Raises ValueError that names the existing versions.
    """
    if text == BUILT_IN:
        found = [each for each in kept if each.kind == RANKING]
        version = ""
    else:
        kind, _, name = text.rpartition("/")
        found = [each for each in kept if kind in ("", each.kind)]
        number = name.rpartition("@")[2]
        version = f"{int(number):04}" if number.isdigit() else name
        having = [each for each in found if version in each.registry.versions()]
        found = having or found
    if not found:
        raise ValueError(f"{text!r} names no version; use for example shopper/0003 or ranking/0003")
    if len(found) > 1 and all(version in each.registry.versions() for each in found):
        raise ValueError(f"{text} may be {' or '.join(each.name(version) for each in found)}; write one of these")
    if version and not any(version in each.registry.versions() for each in found):
        known = [each.name(name) for each in found for name in each.registry.versions()]
        raise ValueError(f"there is no version {text!r}; there are {', '.join(known) or 'none'}")
    return found[0], version
