"""The query's vector in its context, and the text of a product's vector."""

from __future__ import annotations

import numpy as np

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.query_vector import mix

NORTH, EAST = np.eye(2, dtype=np.float32)


def test_no_context() -> None:
    """Without context the query's own vector comes back, bit for bit."""
    assert mix(NORTH, [], 0.7, 0.3) is NORTH


def test_context() -> None:
    """alpha * q + beta * mean(context), of length 1."""
    np.testing.assert_allclose(mix(NORTH, [EAST, EAST], 0.8, 0.6), [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(mix(NORTH, [EAST, NORTH], 1.0, 1.0), np.array([1.5, 0.5]) / np.sqrt(2.5), rtol=1e-6)


def test_cancelled_out() -> None:
    """A context that cancels the query leaves the query."""
    assert mix(NORTH, [-NORTH], 1.0, 1.0) is NORTH


def test_product_text() -> None:
    """Title, brand, category, attributes, description; the brand once, missing parts left out."""
    product = Product("1", "Pegasus", {}, "Light.", {}, "Nike", ("Shoes", "Running"), {"colour": ("red",)})
    assert product_text(product) == "Pegasus Nike Shoes Running red Light."
    assert product_text(Product("1", "NIKE Pegasus", brand="Nike")) == "NIKE Pegasus"


def test_english_title_of_a_chinese_product() -> None:
    """The English title and description stand in for Chinese ones, and only for those."""
    english = {"en": "Running shoe", "zh": "跑步鞋"}
    assert product_text(Product("1", "跑步鞋", english, "轻便", {"en": "Light."})) == "Running shoe Light."
    assert product_text(Product("1", "Laufschuh", english)) == "Laufschuh"
    assert product_text(Product("1", "跑步鞋")) == "跑步鞋"
