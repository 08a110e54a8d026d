"""The text of a product that becomes its vector."""

from __future__ import annotations

from services.common.product import Product

_MAX_CHARACTERS = 2_000


def product_text(product: Product) -> str:
    """Title, brand where the title lacks it, category, attributes, description; the tokenizer cuts the end off.

    Titles and descriptions are the main ones: the embedded model reads no other language than English.
    """
    brand = product.brand if product.brand.lower() not in product.title.lower() else ""
    attributes = " ".join(value for values in product.attributes.values() for value in values)
    parts = (product.title, brand, " ".join(product.category_path), attributes, product.description)
    return " ".join(part for part in parts if part)[:_MAX_CHARACTERS]
