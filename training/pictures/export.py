"""Exports a model folder of `transformers` to `model.onnx` in it: `python -m training.pictures.export FOLDER`.

Works for the ResNet of `training.pictures` and for any CLIP-like model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from training.pictures.model import load_vectors, read_preprocessing

ONNX = "model.onnx"


def export(folder: Path) -> Path:
    preprocessing = read_preprocessing(folder)
    sample = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
    draft = folder / f"{ONNX}.draft"
    torch.onnx.export(
        load_vectors(folder), (sample,), str(draft), dynamo=False, opset_version=18,
        input_names=["pixel_values"], output_names=["vectors"],
        dynamic_axes={"pixel_values": {0: "batch"}, "vectors": {0: "batch"}},
    )  # fmt: skip
    return draft.replace(folder / ONNX)


if __name__ == "__main__":
    print(export(Path(sys.argv[1])))
