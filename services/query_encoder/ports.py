"""What the query encoder needs from outside: models for texts and images, and a store for the shop's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.query_encoder.domain.lexicon import Lexicon, Terms

# Shape [height, width, 3].
Pixels = npt.NDArray[np.uint8]
# A model may want another prompt before each kind of text.
TextKind: TypeAlias = Literal["query", "product"]


class Encoder(Protocol):
    """Turns texts into vectors. A call blocks; several threads may call at once."""

    @property
    def model_version(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        """Shape [len(texts), dimensions]. A row has length 1, or is all zero if the model does not know the text.

        `max_tokens`: word pieces of a text that are read, without those of the model's prompt.
        """


class ImageEncoder(Protocol):
    """Turns images into vectors. A call blocks; several threads may call at once."""

    @property
    def model_version(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def encode(self, images: Sequence[Pixels]) -> FloatArray:
        """Shape [len(images), dimensions]. Rows have length 1."""


class ImageReader(Protocol):
    """Decodes image files for an ImageEncoder. A call blocks; several threads may call at once."""

    def read(self, data: bytes, field: str, limit_s: float) -> Pixels:
        """The pixels that the model gets of an image file. It takes `limit_s` seconds or the reader's own limit,
        whichever is less, and then ends. Raises InvalidArgument that names `field`.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class EncodedImages:
    """`vectors` of shape [images, dimensions]: a row is zero where there is no image, or none that can be read. None if
    no image could be read. `problems`: by row, why an image cannot be read.
    """

    model_version: str = ""
    vectors: FloatArray | None = None
    problems: Mapping[int, str] = field(default_factory=dict)


class LexiconStore(Protocol):
    """Keeps the lexicon of each tenant. Other processes read an update as soon as `put` has returned."""

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        """The newest lexicon. It is `known` itself if nothing has changed since `known` was read."""

    def put(self, tenant: str, products: Mapping[str, Terms]) -> None:
        """Replaces what was learned from each of these products, by id. FORGOTTEN takes it back. Products whose terms
        have not changed cost little and change nothing. The update is durable when this returns.
        """

    def words_of_products(self, tenant: str) -> Iterator[list[str]]:
        """The words of each product, in any order. A product that changes meanwhile may come twice or not at all."""

    def close(self) -> None: ...
