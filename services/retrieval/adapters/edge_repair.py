"""Makes an Edge shard loadable that was killed while a named vector was created or deleted.

The engine changes segment after segment, then the shard's configuration, and refuses to load a shard in which these
differ. The manifest names a vector only after it was created, and no longer before it is deleted: whatever it does not
name is removed here, from segments and configuration alike, before the shard is loaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from services.retrieval.adapters.edge_layout import write_json

_DIRECTORIES = ("vector_storage-", "vector_index-")


def remove_unnamed_vectors(shard: Path, named: Collection[str], sparse: Collection[str]) -> None:
    """`named`: the dense vectors of the manifest; `sparse`: those of the shard's configuration."""
    for segment in shard.glob("segments/*/segment.json"):
        _remove(segment, ("config", "vector_data"), named)
        # A name that is used again must not find what another vector of this name has left.
        for prefix in _DIRECTORIES:
            for folder in segment.parent.glob(f"{prefix}*"):
                if folder.name.removeprefix(prefix) not in {*named, *sparse}:
                    shutil.rmtree(folder)
    configuration = shard / "edge_config.json"
    if configuration.exists():
        _remove(configuration, ("vectors",), named)


def _remove(file: Path, keys: tuple[str, ...], named: Collection[str]) -> None:
    content = json.loads(file.read_text())
    vectors = content
    for key in keys:
        vectors = vectors.get(key) or {}
    unnamed = [name for name in vectors if name not in named]
    for name in unnamed:
        del vectors[name]
    if unnamed:
        write_json(file, content)
