"""The original method, literally: v_u = encoder(joined titles of the last 50 items), and the cosine with v_i.

Not the mean of the titles' vectors: one text is encoded, cut to the encoder's longest input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.baselines.data import IntArray
from benchmarks.baselines.evaluation import FloatArray, Scorer

# Texts [n] -> unit vectors [n, d].
Encode = Callable[[Sequence[str]], FloatArray]
_EVENTS = 50


def original(titles: Sequence[str], encode: Encode) -> Scorer:
    items = encode(titles)

    def score(histories: Sequence[IntArray]) -> FloatArray:
        # The newest first: what the encoder cuts off is the oldest.
        joined = [" ".join(titles[item] for item in history[::-1][:_EVENTS]) for history in histories]
        return np.asarray(encode(joined) @ items.T, np.float32)

    return score
