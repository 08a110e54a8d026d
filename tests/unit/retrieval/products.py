"""Candidates made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.retrieval.domain.candidates import NO_STOCK_COUNT, Candidates


def candidates(ids: Sequence[str] = (), **columns: Any) -> Candidates:
    """Rows that differ only in `columns`."""
    count = len(ids)
    made: dict[str, Any] = {
        "keys": np.arange(count, dtype=np.uint64),
        "scores": np.linspace(1, 0.5, count, dtype=np.float32),
        "dense_scores": np.zeros(count, np.float32),
        "lexical_scores": np.zeros(count, np.float32),
        "prices": np.full(count, 10.0),
        "currencies": ["USD"] * count,
        "categories": [""] * count,
        "brands": [""] * count,
        "stocks": np.full(count, NO_STOCK_COUNT, np.int64),
        "created_at_seconds": np.zeros(count, np.int64),
        "products": [id.encode() for id in ids],
        "fingerprints": [],
        "groups": list(ids),
        "costs": np.full(count, np.nan),
        "heading_terms": [],
    }
    return Candidates(list(ids), **(made | columns))
