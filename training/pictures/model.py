"""The picture model: a ResNet of `transformers` (or any model of its kind), its vectors, and its folder.

config.json, model.safetensors     the network, as `transformers` saves it
preprocessor_config.json           size, mean and deviation
model.onnx                         what is served: `pixel_values` -> `vectors`, rows of length 1 (export.py)
training.json                      how it was trained, where it was trained here
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, ResNetConfig, ResNetModel

from services.query_encoder.domain.image import Preprocessing

PREPROCESSOR = "preprocessor_config.json"
SIDE = 80
# Of its vectors.
WIDTH = 256
# Of the pixels of everyday photographs (ImageNet); any will do for a network that is trained with them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH = 64


def new_network(seed: int, side: int = SIDE) -> tuple[ResNetModel, dict[str, Any]]:
    """(an untrained network, its preprocessing)."""
    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[48, 96, 160, WIDTH], depths=[1, 1, 2, 1], layer_type="basic", hidden_act="relu"
    )
    preprocessing = {
        "image_processor_type": "ConvNextImageProcessor", "do_resize": True, "do_normalize": True, "do_rescale": True,
        "size": {"height": side, "width": side}, "image_mean": list(_MEAN), "image_std": list(_STD), "resample": 3,
    }  # fmt: skip
    return ResNetModel(config), preprocessing


class PictureVectors(torch.nn.Module):
    """`pixel_values` of shape [n, 3, height, width] -> vectors of shape [n, dimensions], of length 1."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.features(pixel_values), dim=-1)

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """CLIP and its kin have a picture side of their own; of others the pooled output is meant."""
        of_picture: Any = getattr(self.network, "get_image_features", None)
        if of_picture is not None:
            found = of_picture(pixel_values=pixel_values)
            return found if isinstance(found, torch.Tensor) else found.pooler_output
        pooled: torch.Tensor = self.network(pixel_values).pooler_output.flatten(1)
        return pooled


def save_network(folder: Path, network: ResNetModel, preprocessing: dict[str, Any], training: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(folder)
    (folder / PREPROCESSOR).write_text(json.dumps(preprocessing, indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n")


def load_vectors(folder: Path) -> PictureVectors:
    """Of any folder that `transformers` reads and that has a picture side."""
    return PictureVectors(AutoModel.from_pretrained(folder)).eval()


def read_preprocessing(folder: Path) -> Preprocessing:
    return Preprocessing.of(json.loads((folder / PREPROCESSOR).read_text()))


def embed(
    vectors: PictureVectors, preprocessing: Preprocessing, pixels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """`pixels` of shape [n, height, width, 3] -> [n, dimensions]."""
    vectors.eval()
    with torch.inference_mode():
        rows = [
            vectors(torch.from_numpy(preprocessing.tensor(pixels[start : start + _BATCH]))).numpy()
            for start in range(0, len(pixels), _BATCH)
        ]
    found: npt.NDArray[np.float32] = np.concatenate(rows)
    return found
