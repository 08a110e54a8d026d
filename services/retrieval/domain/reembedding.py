"""What is told of a catalogue that is brought over to another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Of a product, that a check of the searches looks at.
NEIGHBOURS = 10


@dataclass(frozen=True)
class CollectionState:
    """`without_vector`: how many of the `products` the model has no vector for."""

    model_version: str
    dimensions: int
    products: int
    without_vector: int


@dataclass(frozen=True)
class PairState:
    """`live` answers searches. `staged_is_previous`: it was live before, and is kept for a way back."""

    live: CollectionState | None
    staged: CollectionState | None
    staged_is_previous: bool


@dataclass(frozen=True)
class Unembedded:
    """Products that the collection beside the live one lacks, of `compared`: rows of equal length.

    `after`: the point to go on from; 0: that were all.
    """

    ids: Sequence[str]
    # Each a serialised kairos.common.v1.Product.
    products: Sequence[bytes]
    fingerprints: Sequence[bytes]
    compared: int
    after: int


@dataclass(frozen=True)
class SearchCheck:
    """Of `sampled` products' nearest neighbours in the collection beside the live one.

    `recall`: the share of the exact ones that a search finds. `overlap`: the share that they have in common with the
    product's neighbours under the live model. Both from 0 to 1.
    """

    sampled: int
    recall: float
    overlap: float
