"""Which of a tenant's collections is live, and which is staged.

    <data_dir>/<tenant>/                 collection 1 (manifest.json, generation-*)
    <data_dir>/<tenant>/collection-2/    a further one, and so on
    <data_dir>/<tenant>/roles.json       the numbers of the live and the staged one; absent: 1 is live, none is staged

A collection counts only once roles.json names it, and roles.json changes by an atomic rename.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from services.retrieval.adapters.edge_generations import remove_all_generations
from services.retrieval.adapters.edge_layout import write_json

_FIRST = 1


@dataclass(frozen=True)
class Roles:
    """Numbers of collections; a later one has a higher number."""

    live: int = _FIRST
    staged: int | None = None

    @classmethod
    def read(cls, tenant_folder: Path) -> Roles:
        path = tenant_folder / "roles.json"
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def write(self, tenant_folder: Path) -> None:
        write_json(tenant_folder / "roles.json", asdict(self))


def collection_folder(tenant_folder: Path, number: int) -> Path:
    return tenant_folder if number == _FIRST else tenant_folder / f"collection-{number}"


def faq_folder(tenant_folder: Path) -> Path:
    return tenant_folder / "faq"


def remove_collections_without_role(tenant_folder: Path, roles: Roles) -> None:
    """Collections that were dropped, and those that were never completed."""
    named = {roles.live, roles.staged}
    for folder in tenant_folder.glob("collection-*"):
        if int(folder.name.removeprefix("collection-")) not in named:
            shutil.rmtree(folder, ignore_errors=True)
    if _FIRST not in named:
        remove_all_generations(tenant_folder)
