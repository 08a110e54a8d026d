"""Generations of one Edge collection: a folder with a shard each, of which the manifest names the valid one.

The manifest changes by an atomic rename: a creation or an optimisation that was interrupted leaves a folder that no
manifest names, which the next start removes.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from services.common.arrays import FloatArray
from services.retrieval.adapters.edge_layout import write_json
from services.retrieval.adapters.item_spaces import ItemSpace
from services.retrieval.adapters.points import DENSE, IMAGE

_PREFIX = "generation-"
_MANIFEST = "manifest.json"
# The map of a version of item vectors.
_MAP = "item-map-"


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
    item_spaces: tuple[ItemSpace, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        path = folder / _MANIFEST
        if not path.exists():
            return None
        content = json.loads(path.read_text())
        spaces = tuple(ItemSpace(**space) for space in content.pop("item_spaces", ()))
        return cls(**content, item_spaces=spaces)

    @property
    def vector_names(self) -> set[str]:
        """Of the dense vectors that the collection has."""
        models = {DENSE: self.model_version, IMAGE: self.image_model_version}
        return {using for using, version in models.items() if version} | {space.using for space in self.item_spaces}

    def write(self, folder: Path) -> None:
        content = asdict(self)
        if not self.item_spaces:
            # Earlier versions of Kairos read it then.
            del content["item_spaces"]
        write_json(folder / _MANIFEST, content)


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
    remove_other_maps(folder, None)


def write_map(folder: Path, map: FloatArray) -> str:
    """The token by which it is read; durable when it returns."""
    token = uuid.uuid4().hex[:12]
    with (folder / f"{_MAP}{token}.npy").open("wb") as file:
        np.save(file, map)
        file.flush()
        os.fsync(file.fileno())
    return token


def read_map(folder: Path, token: str) -> FloatArray:
    map: FloatArray = np.load(folder / f"{_MAP}{token}.npy", allow_pickle=False)
    return map


def remove_other_maps(folder: Path, manifest: Manifest | None) -> None:
    """Maps that the manifest does not name: of dropped versions, and of those that were never begun."""
    named = {space.map_token for space in manifest.item_spaces} if manifest is not None else set()
    for path in folder.glob(f"{_MAP}*.npy"):
        if path.stem.removeprefix(_MAP) not in named:
            path.unlink(missing_ok=True)


def is_invalid_generation(folder: Path) -> bool:
    """Whether it is a generation that no manifest names: one that is being made, or one that was replaced."""
    if not folder.name.startswith(_PREFIX):
        return False
    manifest = Manifest.read(folder.parent)
    return manifest is None or manifest.generation != folder.name
