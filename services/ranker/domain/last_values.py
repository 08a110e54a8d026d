"""Whether candidates have the brand or the category of the item that a person acted on last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from services.ranker.domain.event import ItemFeatures
from services.ranker.domain.ranking_request import BoolArray
from services.ranker.domain.user_features import TYPES
from services.ranker.domain.user_history import UserHistory


def is_last_value(values: Sequence[str], history: UserHistory, value_of: Callable[[ItemFeatures], str]) -> BoolArray:
    """[n], for each of `values`: whether it is that of the newest item whose value is known, thus not empty."""
    of_items = (value_of(entry.features) for entry in history.recent if entry.type in TYPES and entry.features)
    last = next(filter(None, of_items), None)
    return np.array([value == last for value in values], np.bool_)
