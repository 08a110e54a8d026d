"""The tower itself, and its folder in the registry.

<registry>/product_tower/<version>/
    config.json, model.safetensors     sizes and weights
    prices.json                        what prices are relative to
    model.onnx                         text, picture, price, present -> vectors, rows of length 1
    training.json                      how it was trained
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from services.common.versions import add_version
from services.query_encoder.domain.relative_price import FEATURES, PriceBook

PARTS = ("text", "picture", "price")
NAME = "product_tower"
# Large beside the flags of what is present.
_SCALE = 8.0


@dataclass(frozen=True)
class TowerConfig:
    text: int
    picture: int
    price: int = FEATURES
    hidden: int = 256
    dimensions: int = 256


@dataclass(frozen=True)
class ProductParts:
    """Rows of products. A missing part is a row of zeros, and `present` says so: bool of shape [n, 3], as PARTS."""

    text: npt.NDArray[np.float32]
    picture: npt.NDArray[np.float32]
    price: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.present)

    def take(self, rows: npt.NDArray[np.integer]) -> ProductParts:
        return ProductParts(self.text[rows], self.picture[rows], self.price[rows], self.present[rows])

    def only(self, *parts: str) -> ProductParts:
        """As if the products had no others."""
        keep = np.array([part in parts for part in PARTS])
        return ProductParts(self.text, self.picture, self.price, self.present & keep)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        present = self.present.astype(np.float32)
        return tuple(map(torch.from_numpy, (self.text, self.picture, self.price, present)))


def concatenation(
    text: torch.Tensor, picture: torch.Tensor, price: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """What is there, side by side. Vectors have length 1; a price has a few features, of size 1 each."""
    parts = (text, picture, price / 3)
    return torch.cat([part * present[:, at : at + 1] for at, part in enumerate(parts)], 1)


class ProductTower(torch.nn.Module):
    """Concatenation, which parts are there, and a learned projection."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text + config.picture + config.price + len(PARTS)
        self.hidden = torch.nn.Linear(width, config.hidden)
        # Beside the hidden layer a straight way, which begins as an orthogonal projection: the untrained tower is
        # nearly the concatenation, and does not have to learn what is there already.
        self.straight = torch.nn.Linear(width, config.dimensions, bias=False)
        torch.nn.init.orthogonal_(self.straight.weight)
        self.out = torch.nn.Linear(config.hidden, config.dimensions)
        torch.nn.init.zeros_(self.out.weight)
        torch.nn.init.zeros_(self.out.bias)

    def forward(
        self, text: torch.Tensor, picture: torch.Tensor, price: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        """[n, text], [n, picture], [n, price], [n, 3] -> [n, dimensions], of length 1."""
        joined = torch.cat([_SCALE * concatenation(text, picture, price, present), present], 1)
        projected = self.straight(joined) + self.out(torch.nn.functional.gelu(self.hidden(joined)))
        return torch.nn.functional.normalize(projected, dim=-1)

    def vectors(self, parts: ProductParts) -> npt.NDArray[np.float32]:
        self.eval()
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self(*parts.tensors()).numpy()
        return found


def save_tower(registry: Path, tower: ProductTower, prices: PriceBook, training: dict[str, Any]) -> Path:
    """The folder of a new version."""

    def fill(folder: Path) -> None:
        save_file(tower.state_dict(), folder / "model.safetensors")
        for name, content in (("config", asdict(tower.config)), ("prices", prices.levels), ("training", training)):
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
        export_tower(tower, folder / "model.onnx")

    return add_version(registry / NAME, fill)


def load_tower(folder: Path) -> tuple[ProductTower, PriceBook]:
    tower = ProductTower(TowerConfig(**json.loads((folder / "config.json").read_text())))
    tower.load_state_dict(load_file(folder / "model.safetensors"))
    levels = json.loads((folder / "prices.json").read_text())
    shops = {currency: {name: (m, s) for name, (m, s) in shop.items()} for currency, shop in levels.items()}
    return tower.eval(), PriceBook(shops)


def export_tower(tower: ProductTower, file: Path) -> None:
    config = tower.config
    sample = tuple(torch.ones(2, width) for width in (config.text, config.picture, config.price, len(PARTS)))
    names = [*PARTS, "present"]
    torch.onnx.export(
        tower.eval(), sample, str(file), dynamo=False, opset_version=18, input_names=names, output_names=["vectors"],
        dynamic_axes={name: {0: "batch"} for name in (*names, "vectors")},
    )  # fmt: skip
