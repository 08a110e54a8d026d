"""The original method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.ranker.domain.event import Event, EventType
from tests.unit.training.shopper.shop import catalogue, cyclic_log
from training.shopper.data import ShopperLog
from training.shopper.original import OriginalMethod


def test_titles_and_queries_are_joined() -> None:
    """The encoder reads the titles and queries before the event, newest first, and the score is a cosine."""
    of = catalogue()
    kinds = [("p3", EventType.CLICK), ("", EventType.SEARCH), ("p5", EventType.CART), ("p7", EventType.PURCHASE)]
    events = [
        Event(f"e{at}", "u", "", item_id, kind, 60.0 * at, query="red lamp" if kind is EventType.SEARCH else "")
        for at, (item_id, kind) in enumerate(kinds)
    ]
    read: list[str] = []

    def encode(texts: Sequence[str]) -> FloatArray:
        read.extend(texts)
        return 3 * of.inputs()[[5]]

    scores = OriginalMethod(ShopperLog.of(events, of.ids), of, encode)(np.array([3]))
    assert read == ["thing 5. red lamp. thing 3"]
    np.testing.assert_allclose(scores[0], of.inputs() @ of.inputs()[5], rtol=1e-5)


def test_without_text() -> None:
    """A catalogue without text vectors is refused."""
    with pytest.raises(ValueError, match="titles and text vectors"):
        OriginalMethod(cyclic_log(), catalogue(text=0), lambda texts: np.zeros((len(texts), 3), np.float32))
