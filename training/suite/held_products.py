"""Products that are held back from the training of every version, so that what judges a version was seen by none."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.product import Product
from training.search.data import split

TRAINED_SHARE = 0.9


def split_products(products: Iterable[Product], salt: str) -> tuple[list[Product], list[Product]]:
    """(trained, held back), by a hash. Variants of a product are on the same side."""
    groups: dict[str, list[Product]] = {}
    for product in products:
        groups.setdefault(product.group or " ".join(product.title.split()[:3]), []).append(product)
    trained, held = (
        [product for group in side.values() for product in group] for side in split(groups, TRAINED_SHARE, salt)
    )
    return trained, held
