"""The image encoder: a ResNet of `transformers` (He et al., CVPR 2016), its vectors, and its folder.

config.json, model.safetensors     the network, as `transformers` saves it
preprocessor_config.json           size, mean and standard deviation
model.onnx                         the served model: `pixel_values` -> `vectors`, unit rows (export.py)
training.json                      the report of the training
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
# Pixels of a side, and dimensions of the vectors.
SIDE = 80
WIDTH = 256
# Of ImageNet's pixels.
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
    """`pixel_values` [n, 3, height, width] -> unit vectors [n, dimensions]."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.features(pixel_values), dim=-1)

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """[n, dimensions]: the image features of CLIP-like models, the pooled output of others."""
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
    """Reads any folder of `transformers` with an image model."""
    return PictureVectors(AutoModel.from_pretrained(folder)).eval()


def read_preprocessing(folder: Path) -> Preprocessing:
    return Preprocessing.of(json.loads((folder / PREPROCESSOR).read_text()))


def embed(
    vectors: PictureVectors, preprocessing: Preprocessing, pixels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """`pixels` [n, height, width, 3], uint8 -> vectors [n, dimensions]."""
    vectors.eval()
    with torch.inference_mode():
        rows = [
            vectors(torch.from_numpy(preprocessing.tensor(pixels[start : start + _BATCH]))).numpy()
            for start in range(0, len(pixels), _BATCH)
        ]
    found: npt.NDArray[np.float32] = np.concatenate(rows)
    return found
