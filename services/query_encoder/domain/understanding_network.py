"""The understanding network in numpy: one hidden layer, and one head each for intent, category, sentiment and tags.

Its inputs are the query's vector and hashed character sequences. The sequences show how something is asked ("where is
my", 怎么选), which the vector hardly does, and they are the only input for Chinese that the encoder does not read.
Calibration: the logits of a head are divided by its temperature (Guo et al., ICML 2017), which was chosen on held-back
queries. A query takes some tens of microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.common.scripts import HAN, is_han

# Rows of the table of hashed sequences. Twice as many gave the same quality.
BUCKETS = 8_192
# Characters of a text that are hashed, from its beginning.
_MAX_CHARACTERS = 160
_RUN = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:'[a-z]+)?")
# Lengths of the sequences in characters.
_CHINESE_GRAMS = (1, 2, 3)
_LATIN_GRAM = 4
INTENT, CATEGORY, SENTIMENT, TAGS = HEADS = ("intent", "category", "sentiment", "tags")


@dataclass(frozen=True)
class UnderstandingNetwork:
    """relu(vector @ trunk + sum(grams[ids]) / sqrt(n) + bias) @ output + output_bias, cut into heads.

    Shapes: `trunk` [dimensions, h], `grams` [BUCKETS, h], `bias` [h], `output` [h, c], `output_bias` [c]; c is the
    number of labels of all heads together. Without a vector the first term is zero.
    """

    trunk: FloatArray
    grams: FloatArray
    bias: FloatArray
    output: FloatArray
    output_bias: FloatArray

    def logits(self, vector: FloatArray | None, ids: npt.NDArray[np.int64]) -> FloatArray:
        """Shape [c]."""
        scores: FloatArray = self.hidden(vector, ids) @ self.output + self.output_bias
        return scores

    def hidden(self, vector: FloatArray | None, ids: npt.NDArray[np.int64]) -> FloatArray:
        """The hidden layer, which all heads share, shape [h]."""
        hidden = self.bias
        if vector is not None:
            hidden = hidden + vector @ self.trunk
        if len(ids):
            hidden = hidden + self.grams[ids].sum(0) / np.sqrt(np.float32(len(ids)))
        return np.maximum(hidden, 0)


@dataclass(frozen=True)
class Labels:
    """The labels of each head in the order of its columns, and the temperature of each head.

    The first category is "", for a query without a category. Tags are (attribute, value).
    """

    intent: Sequence[str]
    category: Sequence[str]
    sentiment: Sequence[str]
    tags: Sequence[tuple[str, str]]
    temperatures: Mapping[str, float]

    def slices(self) -> dict[str, slice]:
        """The columns of each head."""
        found, start = {}, 0
        for head in HEADS:
            end = start + len(getattr(self, head))
            found[head], start = slice(start, end), end
        return found


def softmax(logits: FloatArray, temperature: float) -> FloatArray:
    scaled = np.exp((logits - logits.max()) / temperature)
    probabilities: FloatArray = scaled / scaled.sum()
    return probabilities


def sigmoid(logits: FloatArray, temperature: float) -> FloatArray:
    probabilities: FloatArray = 1 / (1 + np.exp(-np.clip(logits / temperature, -30, 30)))
    return probabilities


def hashed_grams(normal: str) -> npt.NDArray[np.int64]:
    """Rows of the table for a normalised text, sorted, each once. May be empty."""
    return np.array(sorted({crc32(gram.encode()) % BUCKETS for gram in _grams(normal[:_MAX_CHARACTERS])}), np.int64)


def _grams(text: str) -> Iterator[str]:
    """Words, pairs of words, and pieces of longer words; of Chinese, sequences of one to three characters."""
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
