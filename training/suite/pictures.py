"""Trains an image encoder on the catalogue's pictures, with categories as classes, judges it, and proposes it.

A share of the products is held back from the training of every version, by a hash. For each of their pictures the ten
nearest pictures of other products are looked up: the share that has its category is what versions are compared by.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalog.products import image_path
from services.common.arrays import FloatArray
from services.common.models.kinds import PICTURES as KIND
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.product import Product
from services.query_encoder.adapters.image_folders import version_of
from services.query_encoder.adapters.onnx_image_encoder import OnnxImageEncoder
from services.query_encoder.domain.image import Preprocessing
from services.query_encoder.settings import QueryEncoderSettings
from training.bootstrap import mean_interval
from training.pictures.baseline import thumbnails
from training.pictures.data import read_products
from training.pictures.export import export
from training.pictures.model import new_network, read_preprocessing, save_network
from training.pictures.train import train
from training.suite.held_products import split_products
from training.suite.log import product_of
from training.suite.outcome import Outcome, Result
from training.suite.publishing import publish
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

REPORT = "report.json"
KEPT_VERSIONS = 5
# Pictures that are read: 19 kB each.
MOST_PICTURES = 20_000
_NEAREST = 10
_ENCODED = 256


@dataclass(frozen=True)
class Data:
    """Products with a category and a picture in the folder `images`."""

    images: Path
    trained: Sequence[Product]
    held: Sequence[Product]

    @property
    def categories(self) -> set[str]:
        return {product.category for product in self.trained}

    def missing(self, settings: SuiteTraining) -> str:
        """What is missing for training; empty if the data suffice."""
        known, least = len(self.trained) + len(self.held), settings.least.pictures
        if known < least:
            return f"{known:,} products with a category and a picture in {self.images}, needs {least:,}"
        if len(self.categories) < 2:
            return "pictures of one category; nothing can be learned from them"
        return "" if len(self.held) > 1 else "all products are variants of each other; none can be held back"


@dataclass(frozen=True)
class Judged:
    """Precision@10 of the version and of `other`, and the 95 % interval of the difference."""

    version: float
    before: float
    low: float
    high: float
    pictures: int
    other: str

    @property
    def passed(self) -> bool:
        return self.low > 0

    @property
    def reason(self) -> str:
        verb = "is better than" if self.passed else "is not surely better than"
        return f"precision@10 of similar pictures {verb} that of {self.other}"

    def figures(self) -> dict[str, float]:
        return {
            "precision@10": self.version, "precision@10, before": self.before, "difference, low": self.low,
            "difference, high": self.high, "pictures": float(self.pictures),
        }  # fmt: skip


def data_of(work: WorkFolder, images: Path, seed: int) -> Data:
    """Of what was read into the work folder."""
    products = [product_of(each.body) for each in work.products()]
    with_picture = [each for each in products if each.category and image_path(each, images) is not None]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(with_picture))[:MOST_PICTURES])
    return Data(images, *split_products([with_picture[row] for row in chosen], KIND))


def train_pictures(
    work: WorkFolder, registry: ModelRegistry, images: Path, settings: SuiteTraining,
    clock: Callable[[], float] = time.time,
) -> Outcome:  # fmt: skip
    """A version that passes is proposed; a refused one is published for its report. A killed training resumes."""
    began, now_s = time.monotonic(), clock()
    data = data_of(work, images, settings.seed)
    if missing := data.missing(settings):
        return Outcome(KIND, Result.SKIPPED, missing)
    folder = work.folder / KIND
    shutil.rmtree(version := folder / "version", ignore_errors=True)
    version.mkdir(parents=True)
    preprocessing = Preprocessing.of(new_network(settings.seed)[1])
    pictures = read_products(data.trained, images, preprocessing)
    made = train(pictures, settings.pictures, folder / "checkpoint.pt")
    save_network(version, made.network, made.preprocessing, made.report)
    export(version)
    judged = _judged(data, version, registry, settings.seed)
    report = {
        "created_s": now_s,
        "parent": registry.rollout().current,
        "metrics": judged.figures(),
        "verdict": {"passed": judged.passed, "reason": judged.reason},
        "data": {
            "pictures": {"trained": len(data.trained), "held back": len(data.held)}, "categories": len(data.categories)
        },
        "epochs": made.report["epochs"],
        "settings": asdict(settings.pictures),
    }  # fmt: skip
    (version / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    name = publish(registry, version, model := version_of(version), report)
    registry.take_step(StepKind.PROPOSED, name, reason="kairos train", figures=judged.figures())
    if not judged.passed:
        registry.take_step(StepKind.REFUSED, name, reason=judged.reason, figures=judged.figures())
    registry.prune(KEPT_VERSIONS)
    result = Result.PROPOSED if judged.passed else Result.REFUSED
    seconds = time.monotonic() - began
    return Outcome(KIND, result, judged.reason, name, model, judged.figures(), seconds, str(registry.path(name)))


def _judged(data: Data, version: Path, registry: ModelRegistry, seed: int) -> Judged:
    current = registry.rollout().current
    before = registry.path(current) if current else QueryEncoderSettings().image_model_dir
    own = _precision(data, version)
    base = _precision(data, version if before is None else before, is_plain=before is None)
    low, high = mean_interval(own - base, seed)
    other = "thumbnails" if before is None else "the model that answers now"
    return Judged(float(own.mean()), float(base.mean()), low, high, len(own), other)


def _precision(data: Data, folder: Path, *, is_plain: bool = False) -> npt.NDArray[np.float64]:
    """By held-back picture. `is_plain`: of thumbnails, at the size that the model in `folder` reads."""
    preprocessing = read_preprocessing(folder)
    held, known = (read_products(side, data.images, preprocessing) for side in (data.held, data.trained))
    # The held-back pictures first, each a query for all others.
    categories = np.array([side.classes[label] for side in (held, known) for label in side.labels])
    pixels = np.concatenate([held.pixels, known.pixels])
    vectors = thumbnails(pixels) if is_plain else _encoded(OnnxImageEncoder(folder, threads=1), pixels)
    found = []
    for row in range(len(held)):
        similarity = vectors @ vectors[row]
        similarity[row] = -np.inf
        nearest = np.argsort(-similarity, kind="stable")[:_NEAREST]
        found.append(float((categories[nearest] == categories[row]).mean()))
    return np.array(found)


def _encoded(encoder: OnnxImageEncoder, pixels: npt.NDArray[np.uint8]) -> FloatArray:
    starts = range(0, len(pixels), _ENCODED)
    return np.concatenate([encoder.encode(list(pixels[at : at + _ENCODED])) for at in starts])
