"""Pictures whose pixels are changed until a search for a bestseller's picture finds another product.

The attacker has the gateway alone: it sends a picture and reads how similar the suite finds it (Square Attack:
Andriushchenko et al., ECCV 2020).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.adversary_search import CENTS_OF_CALL, Outcome, Parameters, Space
from benchmarks.adversary_shop import TIMEOUT_S, Shop, mean_worth
from demo.catalogue import DemoProduct
from demo.pictures import draw
from kairos.gateway.v1 import gateway_pb2
from services.query_encoder.domain.image import Preprocessing
from training.pictures.data import LabelledPictures
from training.pictures.export import export
from training.pictures.model import new_network, save_network
from training.pictures.settings import PictureTraining
from training.pictures.train import train

SPACE: Space = {
    # The most that a pixel changes, of 255; and how many pictures the attacker sends.
    "change": (8, 16, 32, 64),
    "searches": (10, 40, 80),
    # How much of the bestseller's picture is mixed into the own one first.
    "copied": (0.0, 0.0, 0.2, 0.4, 0.6),
    # The side of the first squares, as a share of the picture.
    "square": (0.1, 0.3, 0.6),
}
Pixels = npt.NDArray[np.uint8]


class PictureAttack:
    """`gain`: of the worth of the target's place in searches for the bestseller's picture."""

    space = SPACE

    def __init__(self, shop: Shop, random: Random) -> None:
        self._shop, self._random = shop, random
        catalogue = {product.id: product for product in shop.products}
        self._victim = draw(catalogue[shop.bestsellers[0]])
        self._victim_id = shop.bestsellers[0]
        found = self._found(self._victim)
        others = [product for product in shop.products if product.id not in found and product.stock]
        self._target = random.choice(others).id
        self._picture = draw(catalogue[self._target])
        self._before = mean_worth([found], self._target)

    def attempt(self, parameters: Parameters) -> Outcome:
        calls = self._shop.calls
        made = self._perturbed(parameters)
        own = self._shop.product(self._target)
        self._shop.put(own, made)
        gain = mean_worth([self._found(self._victim)], self._target) - self._before
        self._shop.put(own, self._picture)
        calls = self._shop.calls - calls
        return Outcome(max(gain, 0.0), calls * CENTS_OF_CALL, calls)

    def _perturbed(self, parameters: Parameters) -> bytes:
        """Squares of extreme changes that are kept where the picture becomes more similar."""
        random = np.random.default_rng(self._random.randrange(1 << 30))
        own, theirs = (Image.open(io.BytesIO(file)).convert("RGB") for file in (self._picture, self._victim))
        start = np.asarray(Image.blend(own, theirs, parameters["copied"]))
        high, wide, _ = start.shape
        change = parameters["change"]
        stripes = random.choice([-change, change], (1, wide, 3))
        best = np.clip(start.astype(int) + stripes, 0, 255).astype(np.uint8)
        similarity = self._similarity(best)
        for number in range(parameters["searches"]):
            side = max(2, round(high * parameters["square"] * (1 - number / parameters["searches"]) ** 0.5))
            top, left = random.integers(0, high - side + 1), random.integers(0, wide - side + 1)
            draft = best.copy()
            inside = (slice(top, top + side), slice(left, left + side))
            draft[inside] = np.clip(start[inside].astype(int) + random.choice([-change, change], (1, 1, 3)), 0, 255)
            if (found := self._similarity(draft)) > similarity:
                best, similarity = draft, found
        return _png(best)

    def _similarity(self, pixels: Pixels) -> float:
        """Of the victim to a picture, as the gateway tells it; 0 beyond the page."""
        self._shop.calls += 1
        message = gateway_pb2.SearchRequest(image=_png(pixels), page_size=100, explain=True)
        answer = self._shop.stub.Search(message, timeout=TIMEOUT_S)
        scores = {result.product.id: result.stage_scores.image for result in answer.results}
        return float(scores.get(self._victim_id, 0.0))

    def _found(self, image: bytes) -> list[str]:
        return self._shop.search("", image=image)


def encoder_of(folder: Path, shop: Sequence[DemoProduct], minutes: float) -> Path:
    """The folder of an image encoder that learns the shop's categories from its pictures; one that is there is used."""
    model = folder / "image_encoder"
    if (model / "model.onnx").exists():
        return model
    model.mkdir(parents=True, exist_ok=True)
    preprocessing = Preprocessing.of(new_network(0)[1])
    classes = tuple(sorted({product.category_path[-1] for product in shop}))
    images = [Image.open(io.BytesIO(draw(product))).convert("RGB") for product in shop]
    pixels = np.stack([preprocessing.scaled(image) for image in images])
    labels = np.array([classes.index(product.category_path[-1]) for product in shop], np.int64)
    made = train(LabelledPictures(pixels, labels, classes), PictureTraining(max_minutes=minutes))
    save_network(model, made.network, made.preprocessing, made.report)
    export(model)
    return model


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
