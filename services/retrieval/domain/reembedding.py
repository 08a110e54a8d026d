"""The state of a re-embedding: a catalogue that is brought to another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Nearest neighbours of a product that a check of the searches compares.
NEIGHBOURS = 10


@dataclass(frozen=True)
class CollectionState:
    """`without_vector`: number of the `products` that have no vector.

    `image_model_version`: of their pictures; empty if there are none.
    """

    model_version: str
    dimensions: int
    products: int
    without_vector: int
    image_model_version: str = ""


@dataclass(frozen=True)
class PairState:
    """`live` answers searches. `staged_is_previous`: it was live before and is kept for a switch back."""

    live: CollectionState | None
    staged: CollectionState | None
    staged_is_previous: bool


@dataclass(frozen=True)
class Unembedded:
    """Products that the staged collection lacks among `compared` products of the live one: rows of equal length.

    `after`: where the next page starts; 0 after the last one.
    """

    ids: Sequence[str]
    # Each a serialised kairos.common.v1.Product.
    products: Sequence[bytes]
    fingerprints: Sequence[bytes]
    compared: int
    after: int


@dataclass(frozen=True)
class SearchCheck:
    """About the nearest neighbours of `sampled` products in the staged collection.

    `recall`: the share of the exact neighbours that a search finds. `overlap`: the share of them that are neighbours
    under the live model too. Both from 0 to 1.
    """

    sampled: int
    recall: float
    overlap: float
