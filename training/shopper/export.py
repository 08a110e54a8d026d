"""Writes what the ranker and retrieval serve: item vectors, their map, and the user side as an ONNX graph."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from services.common.arrays import FloatArray
from services.ranker.domain.shopper.events import SEQUENCE, WORDS
from training.shopper.data import Catalogue
from training.shopper.model import ShopperModel
from training.shopper.network import UserSide

FORMAT = 1
INPUTS, OUTPUT = ("items", "types", "ages", "words"), "vector"
_OPSET = 18


def export(model: ShopperModel, catalogue: Catalogue, folder: Path, weights: Mapping[str, object] | None = None) -> str:
    """Fills a version's folder, which exists, and gives the model version.

    `weights`: the fitted weights of the weighted sum, if there are any.
    """
    matrix = model.network.map.matrix().detach().numpy().astype(np.float32)
    vectors = model.items.astype(np.float16)
    write_user_graph(model.network.user, folder / "user.onnx")
    save_file({"vectors": vectors, "map": np.ascontiguousarray(matrix)}, folder / "items.safetensors")
    # The library gives it to its owner only.
    (folder / "items.safetensors").chmod(0o644)
    _write(folder / "items.json", list(catalogue.ids))
    version = f"shopper@{_digest(folder / 'items.safetensors', folder / 'user.onnx')}"
    _write(
        folder / "model.json",
        {
            "format": FORMAT,
            "kind": "shopper",
            "model_version": version,
            "dimensions": vectors.shape[1],
            "vector_version": catalogue.vector_version,
            "text_dimensions": _width(catalogue.text),
            "image_dimensions": _width(catalogue.image),
            "sequence": SEQUENCE,
        },
    )
    if weights is not None:
        _write(folder / "weights.json", weights)
    return version


def write_user_graph(user: UserSide, file: Path) -> None:
    """The graph of `UserSide.person`; m, the number of events, is dynamic."""
    m = 3
    arguments = (
        torch.zeros(m, user.settings.width), torch.ones(m, dtype=torch.long), torch.zeros(m),
        torch.zeros(m, WORDS, dtype=torch.long),
    )  # fmt: skip
    with warnings.catch_warnings():
        # The exporter by tracing is marked as old; it is what the ranking networks use, and needs no onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Person(user).eval(), arguments, str(file), dynamo=False, opset_version=_OPSET, input_names=list(INPUTS),
            output_names=[OUTPUT], dynamic_axes={name: {0: "m"} for name in INPUTS},
        )  # fmt: skip


class _Person(torch.nn.Module):
    def __init__(self, user: UserSide) -> None:
        super().__init__()
        self.user = user

    def forward(
        self, items: torch.Tensor, types: torch.Tensor, ages: torch.Tensor, words: torch.Tensor
    ) -> torch.Tensor:
        return self.user.person(items, types, ages, words)


def _width(rows: FloatArray | None) -> int:
    return 0 if rows is None else rows.shape[1]


def _digest(*files: Path) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
