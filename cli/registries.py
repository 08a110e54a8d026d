"""The registries of a tenant's models, and the names of versions: `shopper/0003`, `ranking/0003`, `text/0003`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ops.settings import SuiteSettings
from services.common.context import check_tenant
from services.common.models import text_version
from services.common.models.kinds import PICTURES, UNDERSTANDING
from services.common.models.registry import ModelRegistry
from services.common.settings import load_settings
from services.ranker.models import served_shoppers

SHOPPER, RANKING, TEXT = "shopper", "ranking", "text"
KINDS = (SHOPPER, RANKING, TEXT, UNDERSTANDING, PICTURES)
# The name of the scoring function that needs no training. In the registry of the ranking networks its name is empty.
BUILT_IN = "built-in"
Kind = Annotated[
    str,
    typer.Option(help=f"Kind of the model: {', '.join(KINDS)}.", show_default="by the name of the version, or all"),
]


@dataclass(frozen=True)
class Kept:
    """The registry of one kind of model."""

    kind: str
    registry: ModelRegistry

    def name(self, version: str) -> str:
        if version:
            return f"{self.kind}/{version}"
        return {RANKING: BUILT_IN, TEXT: "the model of the settings"}.get(self.kind, "none")


def registries(registry: Path | None, data_dir: Path | None, tenant: str, kind: str) -> list[Kept]:
    """Of the chosen kind, or of all. Raises ValueError for an unknown kind."""
    if kind and kind not in KINDS:
        raise ValueError(f"--kind {kind} is unknown; use {', '.join(KINDS)}")
    state = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    folder, url = registry or state / "ranker" / "models", os.environ.get("KAIROS_RANKER_REGISTRY_URL", "")
    check_tenant(tenant, "--tenant")
    names = {
        SHOPPER: (tenant, served_shoppers.FOLDER), RANKING: (tenant,), TEXT: (tenant, text_version.FOLDER),
        UNDERSTANDING: (tenant, UNDERSTANDING), PICTURES: (tenant, PICTURES),
    }  # fmt: skip
    return [Kept(each, _registry(folder, url, *names[each])) for each in KINDS if kind in ("", each)]


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
        raise ValueError(f"{text!r} names no version; use for example shopper/0003, ranking/0003 or text/0003")
    if len(found) > 1 and all(version in each.registry.versions() for each in found):
        raise ValueError(f"{text} may be {' or '.join(each.name(version) for each in found)}; write one of these")
    if version and not any(version in each.registry.versions() for each in found):
        known = [each.name(name) for each in found for name in each.registry.versions()]
        raise ValueError(f"there is no version {text!r}; there are {', '.join(known) or 'none'}")
    return found[0], version
