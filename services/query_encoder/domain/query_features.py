"""What the understanding network sees of a query beside its vector: hashed words and pieces of words.

They say how something is asked ("where is my", 怎么选), which a vector made for products blurs, and they are all there
is of Chinese where the encoder reads none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.common.scripts import HAN, is_han

# A power of two. Twice as many changed nothing.
BUCKETS = 8_192
# Of a longer text the beginning counts.
_MAX_CHARACTERS = 160
_RUN = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:'[a-z]+)?")
_CHINESE_GRAMS = (1, 2, 3)
_LATIN_GRAM = 4


def hashed_grams(normal: str) -> npt.NDArray[np.int64]:
    """Buckets of a normalised text, each once, sorted; may be empty."""
    return np.array(sorted({crc32(gram.encode()) % BUCKETS for gram in _grams(normal[:_MAX_CHARACTERS])}), np.int64)


def _grams(text: str) -> Iterator[str]:
    """Words, pairs of words, beginnings and pieces of longer words; of Chinese, runs of one to three characters."""
    before = "^"
    for run in _RUN.findall(text):
        if is_han(run[0]):
            for size in _CHINESE_GRAMS:
                yield from (run[at : at + size] for at in range(len(run) - size + 1))
            before = run[-1]
            continue
        yield run
        yield f"{before} {run}"
        before = run
        if len(run) > _LATIN_GRAM:
            yield from (f"#{run[at : at + _LATIN_GRAM]}" for at in range(len(run) - _LATIN_GRAM + 1))
    yield f"{before} $"
