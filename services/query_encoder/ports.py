"""What the query encoder needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.query_encoder.domain.lexicon import Lexicon, LexiconUpdate

FloatArray = npt.NDArray[np.float32]
# Shape [height, width, 3].
Pixels = npt.NDArray[np.uint8]


class Encoder(Protocol):
    """Turns texts into vectors. Blocks; safe to call from several threads."""

    @property
    def model_version(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def encode(self, texts: Sequence[str], max_tokens: int) -> FloatArray:
        """Shape [len(texts), dimensions]; rows have length 1, or are zero for a text that the model does not know."""


class PictureEncoder(Protocol):
    """Turns pictures into vectors. Blocks; safe to call from several threads."""

    @property
    def model_version(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def read(self, data: bytes, field: str) -> Pixels:
        """What the model sees of a picture. Raises InvalidArgument that names `field` for one that is none."""

    def encode(self, pictures: Sequence[Pixels]) -> FloatArray:
        """Shape [len(pictures), dimensions]; rows have length 1."""


class LexiconStore(Protocol):
    """Keeps each tenant's lexicon. `add` is durable when it returns; other processes see it when they read."""

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        """The newest lexicon; `known` itself where it has not changed."""

    def add(self, tenant: str, update: LexiconUpdate) -> None: ...

    def close(self) -> None: ...
