"""The product tower: it learns what was chosen together, with parts missing, and is kept as it was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from services.query_encoder.domain.relative_price import FEATURES, PriceBook
from training.product_tower.model import PARTS, ProductParts, ProductTower, load_tower, save_tower
from training.product_tower.train import TowerTraining, pairs_of, train

SETTINGS = TowerTraining(steps=120, batch=32)
BOOK = PriceBook({"USD": {"": (1.0, 0.5)}})


@pytest.fixture(scope="module")
def parts() -> ProductParts:
    """60 products in 20 groups of three; a text tells the five, a picture the four: only both tell all twenty."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    group = np.arange(60) // 3
    text = np.eye(8, dtype=np.float32)[group % 5] + random.normal(0, 0.05, (60, 8)).astype(np.float32)
    picture = np.eye(6, dtype=np.float32)[group // 5] + random.normal(0, 0.05, (60, 6)).astype(np.float32)
    return ProductParts(text, picture, np.zeros((60, FEATURES), np.float32), np.ones((60, 3), bool))


@pytest.fixture(scope="module")
def tower(parts: ProductParts) -> ProductTower:
    pairs = pairs_of([[3 * group, 3 * group + 1, 3 * group + 2] for group in range(20)], 10, 0)
    return train(parts, pairs, SETTINGS)[0]


def found(tower: ProductTower, parts: ProductParts) -> float:
    """Of the two nearest, the share that belongs to the same group."""
    vectors = tower.vectors(parts)
    likeness = vectors @ vectors.T - 9 * np.eye(len(vectors), dtype=np.float32)
    nearest = np.argsort(-likeness, 1)[:, :2]
    return float((nearest // 3 == np.arange(len(vectors))[:, None] // 3).mean())


def test_together_they_say_more(tower: ProductTower, parts: ProductParts) -> None:
    """What neither text nor picture tells alone, both tell together; without one the other still helps."""
    assert found(tower, parts) > 0.9
    assert 0.08 < found(tower, parts.only("text")) < 0.9
    assert 0.08 < found(tower, parts.only("picture")) < 0.9


def test_a_missing_part_is_not_looked_at(tower: ProductTower, parts: ProductParts) -> None:
    """Where a part is not there, its row says nothing, whatever it holds."""
    noise = ProductParts(parts.text, parts.picture + 5, parts.price, parts.present)
    np.testing.assert_array_equal(tower.vectors(noise.only("text")), tower.vectors(parts.only("text")))


def test_nothing_but_an_id(tower: ProductTower, parts: ProductParts) -> None:
    """A product without any part has a vector of length 1 nonetheless."""
    assert np.linalg.norm(tower.vectors(parts.only()), axis=1) == pytest.approx(1, abs=1e-5)


def test_kept_and_served_as_trained(tower: ProductTower, parts: ProductParts, tmp_path: Path) -> None:
    """Each save is a new version; read back, and in ONNX Runtime, it gives the same vectors."""
    first, second = (save_tower(tmp_path, tower, BOOK, {}) for _ in range(2))
    assert [first.name, second.name] == ["0001", "0002"]
    again, book = load_tower(second)
    assert book == BOOK
    expected = tower.vectors(parts)
    np.testing.assert_allclose(again.vectors(parts), expected, atol=1e-6)
    session = onnxruntime.InferenceSession(str(first / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = dict(zip((*PARTS, "present"), (tensor.numpy() for tensor in parts.tensors()), strict=True))
    np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=1e-5)


def test_pairs() -> None:
    """Pairs are of different products, no more than asked for from one list."""
    pairs = pairs_of([[1, 1, 2], [3], list(range(10))], 5, 0)
    assert len(pairs) == 6
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert pairs_of([], 5, 0).shape == (0, 2)
