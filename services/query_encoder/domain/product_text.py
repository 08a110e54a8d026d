"""The text of a product that becomes its vector."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.product import Product
from services.common.typed_text import as_typed
from services.query_encoder.domain.text import CHINESE, ENGLISH, detect_language

# More characters than any model reads.
_MAX_CHARACTERS = 2_000


def product_text(product: Product) -> str:
    """Title, brand unless the title contains it, category, attributes and description. The tokenizer cuts off the end.

    The English title and description are used instead of Chinese ones if the product has them: the embedded model reads
    only English, and a multilingual model reads English as well.
    """
    title = _english(product.title, product.localized_titles)
    description = _english(product.description, product.localized_descriptions)
    brand = product.brand if product.brand.lower() not in title.lower() else ""
    attributes = " ".join(value for values in product.attributes.values() for value in values)
    parts = (title, brand, " ".join(product.category_path), attributes, description)
    return as_typed(" ".join(part for part in parts if part))[:_MAX_CHARACTERS]


def _english(text: str, localized: Mapping[str, str]) -> str:
    return localized.get(ENGLISH, text) if detect_language(text) == CHINESE else text
