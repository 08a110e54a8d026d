"""A version of the shopper model from its folder, as it is served, over the whole catalogue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.adapters.shopper_version import MODEL, ShopperVersion
from services.ranker.domain.user_history import UserHistory
from training.suite.cases import Case


class VersionScorer:
    """`text` [n, t] are unit text vectors by the model `vector_version`; they give new items their vectors."""

    def __init__(self, folder: Path, item_ids: Sequence[str], text: FloatArray, vector_version: str) -> None:
        self.item_ids, self._version = item_ids, ShopperVersion(folder)
        dimensions = json.loads((folder / MODEL).read_text("utf-8"))["dimensions"]
        # [n, dimensions]: the scores of unit vectors are the coordinates of the items.
        axes = np.eye(dimensions, dtype=np.float32)
        columns = [self._version.scores(axis, item_ids, text, vector_version) for axis in axes]
        self._items = np.ascontiguousarray(np.stack(columns, axis=1))

    @property
    def name(self) -> str:
        return self._version.name

    @property
    def vectors(self) -> FloatArray:
        """[n, dimensions]: the item vectors."""
        return self._items

    def scores(self, case: Case) -> FloatArray:
        person = self._version.vector(UserHistory(case.entries), case.at_s)
        if person is None:
            return np.zeros(len(self.item_ids), np.float32)
        found: FloatArray = self._items @ person
        return found
