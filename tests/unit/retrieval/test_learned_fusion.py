"""The features of a learned fusion."""

from __future__ import annotations

import numpy as np

from services.retrieval.domain.learned_fusion import FEATURES, feedback, fusion_features


def unit_rows(count: int, random: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = random.normal(size=(count, 8)).astype(np.float32)
    scaled: np.ndarray[tuple[int, int], np.dtype[np.float32]] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def test_the_centres_are_of_what_comes_first() -> None:
    """The second centre is that of the lexical leg's first products; a similar product is near it, found or not."""
    random = np.random.default_rng(1)
    kind = unit_rows(1, random)
    alike = kind + 0.05 * unit_rows(12, random)
    others = unit_rows(40, random)
    vectors = np.concatenate([alike, others]).astype(np.float32)
    lexical = np.where(np.arange(52) < 11, 5.0, 1.0).astype(np.float32)
    centres = feedback(np.zeros(52, np.float32), lexical, vectors)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1.0, atol=1e-5)
    near = vectors @ centres[1]
    assert near[11] > near[12:].max(), "the twelfth of its kind, which no word had found"


def test_without_vectors_nothing_is_near() -> None:
    """A shop whose products have no vectors gets zeros, and no error."""
    nothing = np.zeros((3, 8), np.float32)
    assert not feedback(np.zeros(3, np.float32), np.arange(3, dtype=np.float32), nothing).any()


def test_each_feature_has_its_column() -> None:
    """Columns are those of FEATURES, also for a single candidate."""
    one = np.ones(1, np.float32)
    features = fusion_features(one, 3 * one, 0.5 * one, np.array([[0.25, 0.75]], np.float32), 2)
    assert features.shape == (1, len(FEATURES))
    assert dict(zip(FEATURES, features[0], strict=True))["near_first_lexical"] == 0.75
