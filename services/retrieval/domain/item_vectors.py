"""Item vectors of shopper models, which a collection has beside the vectors of texts and images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray, unit_rows

# Versions in one collection: the one that serves, the one before it, and one that is being written.
MAX_VERSIONS = 3
# Products of which one vector finds similar ones.
MAX_LIKE_IDS = 16
# Item vectors are stored as float16, whose largest number is 65,504.
MAX_ITEM_NUMBER = 60_000.0


@dataclass(frozen=True)
class ItemVectorsState:
    """`product_count`: products of the live collection with a vector. `is_complete`: whether it answers searches."""

    model_version: str
    dimensions: int
    product_count: int
    is_complete: bool


def mapped(map: FloatArray, text: FloatArray, image: FloatArray | None) -> FloatArray:
    """Item vectors [n, d] of products by their vectors: (unit text, unit image, 1) times `map` [rows, d].

    `text` [n, t] and `image` [n, i] have rows of zeros for products without one; a map of t + 1 rows reads no images.
    `image` None counts as zeros.
    """
    known = [unit_rows(text)]
    read = len(map) - 1 - text.shape[1]
    if read:
        known.append(np.zeros((len(text), read), np.float32) if image is None else unit_rows(image))
    known.append(np.ones((len(text), 1), np.float32))
    found: FloatArray = np.clip(np.hstack(known) @ map, -MAX_ITEM_NUMBER, MAX_ITEM_NUMBER).astype(np.float32)
    return found
