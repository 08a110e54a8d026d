"""The manifest of a learned version: what each kind of ranker has in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.ranker.domain.features import FEATURES_VERSION

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Raises ValueError for a version of another layout, or one that was trained on features of another version."""
    about: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if about["features_version"] != FEATURES_VERSION:
        raise ValueError(
            f"{folder} was trained on features of version {about['features_version']}, these are {FEATURES_VERSION}; "
            "train it again"
        )
    if "reranked" not in about:
        raise ValueError(
            f"{folder} does not say how many candidates it reranks: an earlier build made it; train it again"
        )
    return about
