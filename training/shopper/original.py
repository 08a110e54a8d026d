"""The original method, literally, as a row of result tables.

v_u is the encoder's vector of the joined titles and queries of a person's last 50 events, v_r = v_u beside v_i. Without
a trained ranking over v_r, the score is the cosine of its two halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.shopper.events import SEQUENCE
from training.shopper.data import Catalogue, IntArray, ShopperLog

# Texts [b] -> vectors [b, t], by the model of the catalogue's text vectors.
Encode = Callable[[Sequence[str]], FloatArray]


class OriginalMethod:
    """A Scorer. Raises ValueError for a catalogue without titles or text vectors."""

    def __init__(self, log: ShopperLog, catalogue: Catalogue, encode: Encode) -> None:
        if catalogue.text is None or not catalogue.titles:
            raise ValueError("the original method reads titles and text vectors; the catalogue has none")
        self._log, self._titles, self._encode = log, catalogue.titles, encode
        self._items = unit_rows(catalogue.text)

    def __call__(self, events: IntArray) -> FloatArray:
        """Cosines [b, n] before these events."""
        scores: FloatArray = unit_rows(self._encode([self.text(event) for event in events.tolist()])) @ self._items.T
        return scores

    def text(self, event: int) -> str:
        """The person's last texts, newest first: an encoder that cuts a long text off forgets the oldest."""
        log = self._log
        begin = max(int(log.starts[np.searchsorted(log.starts, event, side="right") - 1]), event - SEQUENCE)
        return ". ".join(self._text(row) for row in range(event - 1, begin - 1, -1))

    def _text(self, row: int) -> str:
        item = int(self._log.items[row])
        return self._titles[item] if item >= 0 else self._log.query_texts[int(self._log.queries[row])]
