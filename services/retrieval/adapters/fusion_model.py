"""A learned fusion on disk: fusion.safetensors holds the arrays, fusion.json describes their training."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from services.retrieval.domain.learned_fusion import FEATURES, FusionNetwork

_ARRAYS, _ABOUT = "fusion.safetensors", "fusion.json"


def load_fusion(folder: Path) -> FusionNetwork:
    """Raises ValueError that names the folder and what is wrong with it."""
    try:
        about = json.loads((folder / _ABOUT).read_text())
        arrays = load_file(str(folder / _ARRAYS))
    except (OSError, ValueError) as error:
        raise ValueError(f"fusion.model_dir: {folder} holds no learned fusion ({error}); train one") from None
    if tuple(about.get("features", ())) != FEATURES:
        raise ValueError(f"fusion.model_dir: {folder} was trained on the features of another version; train it again")
    return FusionNetwork(**{field.name: arrays[field.name] for field in fields(FusionNetwork)})


def save_fusion(network: FusionNetwork, folder: Path, about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {field.name: np.ascontiguousarray(getattr(network, field.name)) for field in fields(network)}
    save_file(arrays, str(folder / _ARRAYS))
    (folder / _ABOUT).write_text(json.dumps({"features": FEATURES} | about, indent=2) + "\n")
