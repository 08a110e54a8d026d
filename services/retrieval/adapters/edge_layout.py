"""The files of an Edge data folder, and the check of its layout.

    <data_dir>/layout.json                     the version; absent only in an empty folder
    <data_dir>/lock                            held by the one process that uses the folder
    <data_dir>/writes, <data_dir>/gate         held while something is written: see edge_writes.py
    <data_dir>/<tenant>/roles.json             which collection is live, which is staged: see edge_roles.py
    <data_dir>/<tenant>/manifest.json          collection 1: its valid generation, and the models of its vectors
    <data_dir>/<tenant>/<generation>/          the shard of collection 1
    <data_dir>/<tenant>/item-map-<token>.npy   the map of a version of item vectors of collection 1
    <data_dir>/<tenant>/collection-2/          a further collection, with a manifest and generations of its own
    <data_dir>/<tenant>/faq/                   the collection of the FAQ, likewise: see faq_points.py

A folder of another layout is refused: read as this one, it could lose what it holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.retrieval.adapters.layout import LAYOUT, other_layout


def check_layout(data_dir: Path) -> None:
    """Raises Unavailable, with the remedy, for a folder of another layout. An empty folder becomes one of this layout.

    Call it with the folder's lock held.
    """
    path = data_dir / "layout.json"
    if not path.exists():
        if any(file for name in ("manifest.json", "roles.json") for file in data_dir.glob(f"*/{name}")):
            # Before version 2 there was no such file.
            raise other_layout(str(data_dir), "an earlier layout")
        write_json(path, {"layout": LAYOUT})
        return
    try:
        layout = json.loads(path.read_text())["layout"]
    except (ValueError, TypeError, KeyError):
        raise other_layout(str(data_dir), "an unreadable layout.json") from None
    if layout != LAYOUT:
        raise other_layout(str(data_dir), f"layout {layout}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all, also if the machine stops."""
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
