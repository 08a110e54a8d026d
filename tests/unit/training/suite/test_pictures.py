"""An image encoder from the pictures of a shop, to a version that is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kairos.common.v1 import product_pb2
from services.common.models.rollout import StepKind
from services.query_encoder.adapters.image_folders import version_of
from services.query_encoder.adapters.onnx_image_encoder import OnnxImageEncoder
from tests.fakes.training_gateway import FakeTrainingGateway
from tests.unit.training.suite.shop import NOW_S, SETTINGS, bar, suite
from training.pictures.settings import PictureTraining
from training.suite.outcome import Outcome, Result
from training.suite.run import Suite, run
from training.suite.settings import Least, SuiteTraining
from training.suite.work import WorkFolder

# Of the same brightness: a thumbnail does not tell them apart.
COLOURS = {"Red": (200, 60, 60), "Green": (60, 200, 60), "Blue": (60, 60, 200)}
PRODUCTS = 120


def draw(folder: Path, count: int = PRODUCTS) -> list[product_pb2.Product]:
    """A picture for each product, of the colour of its category with noise."""
    random, made = np.random.default_rng(0), []
    for number in range(count):
        category = list(COLOURS)[number % len(COLOURS)]
        pixels = np.clip(np.array(COLOURS[category]) + random.normal(0, 50, (40, 40, 1)), 0, 255).astype(np.uint8)
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        made.append(
            product_pb2.Product(
                id=str(number), title=f"thing number{number} x", category_path=[category], image_uri=f"{number}.png"
            )
        )
    return made


def shop(products: list[product_pb2.Product]) -> FakeTrainingGateway:
    return FakeTrainingGateway(products, np.zeros((len(products), 4), np.float32))  # type: ignore[abstract]


def settings(images: Path, epochs: int = 4) -> SuiteTraining:
    return replace(SETTINGS, least=Least(pictures=100), images=images, pictures=PictureTraining(epochs, batch=32))


def trained(of: Suite, folder: Path, how: SuiteTraining) -> Outcome:
    (outcome,) = run(of, WorkFolder(folder), how, bar(), ["pictures"], lambda: NOW_S)
    return outcome


def test_a_version_from_pictures(tmp_path: Path) -> None:
    """It is better than thumbnails on pictures that it never saw, can be served, and is proposed. A damaged picture is
    left out.

    A second one that is not surely better than the current one is refused.
    """
    products = draw(tmp_path / "images")
    (tmp_path / "images" / "3.png").write_bytes(b"<html>not found</html>")
    with shop(products).serving() as target:
        of = suite(target, tmp_path / "models")
        outcome = trained(of, tmp_path / "work", settings(tmp_path / "images"))
        of.pictures.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
        again = trained(of, tmp_path / "work", settings(tmp_path / "images", epochs=1))
    assert (outcome.result, outcome.name) == (Result.PROPOSED, "pictures/0001"), outcome
    assert outcome.figures["difference, low"] > 0
    folder = of.pictures.path("0001")
    encoder = OnnxImageEncoder(folder, threads=1, model_version=version_of(folder))
    assert encoder.model_version == outcome.model_version
    data = of.pictures.manifest("0001")["data"]["pictures"]
    assert data["trained"] + data["held back"] == PRODUCTS
    assert data["held back"] > 0
    assert (again.result, again.version) == (Result.REFUSED, "0002")
    assert of.pictures.rollout().current == "0001"


@pytest.mark.parametrize("count", [0, 60])
def test_too_few_pictures(tmp_path: Path, count: int) -> None:
    """Nothing is trained, and the outcome says what is missing."""
    (tmp_path / "images").mkdir()
    products = draw(tmp_path / "images", count)
    with shop([*products, product_pb2.Product(id="x", title="x", category_path=["Red"])]).serving() as target:
        outcome = trained(suite(target, tmp_path / "models"), tmp_path / "work", settings(tmp_path / "images"))
    assert outcome.result is Result.SKIPPED
    assert outcome.reason.startswith(f"{count} products with a category and a picture")
