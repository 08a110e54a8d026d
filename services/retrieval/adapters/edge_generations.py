"""Generations of one Edge collection: a folder with a shard each, of which the manifest names the valid one.

The manifest changes by an atomic rename: a creation or an optimisation that was interrupted leaves a folder that no
manifest names, which the next start removes.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from services.retrieval.adapters.edge_layout import write_json

_PREFIX = "generation-"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The valid generation of a collection, and the models of its vectors.

    `optimized_count`: points that its last optimised copy had; 0 if there was none, or if an earlier version wrote it.
    """

    generation: str
    model_version: str = ""
    dimensions: int = 0
    image_model_version: str = ""
    image_dimensions: int = 0
    optimized_count: int = 0

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        path = folder / _MANIFEST
        return cls(**json.loads(path.read_text())) if path.exists() else None

    def write(self, folder: Path) -> None:
        write_json(folder / _MANIFEST, asdict(self))


def new_generation() -> str:
    return f"{_PREFIX}{uuid.uuid4().hex[:12]}"


def remove_other_generations(folder: Path, manifest: Manifest | None) -> None:
    """Generations that the manifest does not name: replaced ones, and those that were never completed."""
    for path in folder.glob(f"{_PREFIX}*"):
        if manifest is None or path.name != manifest.generation:
            # An optimiser that outlived its parent may still write there: the next start removes what is left.
            shutil.rmtree(path, ignore_errors=True)


def remove_all_generations(folder: Path) -> None:
    # The manifest first: without it no generation is valid.
    (folder / _MANIFEST).unlink(missing_ok=True)
    remove_other_generations(folder, None)


def is_invalid_generation(folder: Path) -> bool:
    """Whether it is a generation that no manifest names: one that is being made, or one that was replaced."""
    if not folder.name.startswith(_PREFIX):
        return False
    manifest = Manifest.read(folder.parent)
    return manifest is None or manifest.generation != folder.name
