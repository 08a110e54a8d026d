"""The text of a product that becomes its vector."""

from __future__ import annotations

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text


def test_product_text() -> None:
    """The text has title, brand, category, attributes and description; the brand once, missing parts left out."""
    product = Product("1", "Pegasus", {}, "Light.", {}, "Nike", ("Shoes", "Running"), {"colour": ("red",)})
    assert product_text(product) == "Pegasus Nike Shoes Running red Light."
    assert product_text(Product("1", "NIKE Pegasus", brand="Nike")) == "NIKE Pegasus"


def test_english_title_of_a_chinese_product() -> None:
    """The English title and description replace Chinese ones, and only those."""
    english = {"en": "Running shoe", "zh": "跑步鞋"}
    assert product_text(Product("1", "跑步鞋", english, "轻便", {"en": "Light."})) == "Running shoe Light."
    assert product_text(Product("1", "Laufschuh", english)) == "Laufschuh"
    assert product_text(Product("1", "跑步鞋")) == "跑步鞋"
