"""One variant of each item group: the best for the query and the person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.ranking_request import BoolArray


@dataclass(frozen=True)
class VariantPreference:
    """What the variants of a group are compared by, before their score. Row i belongs to candidate i.

    `groups` are item group ids; `is_explained`: the request asks about this very variant; `has_identifier`: the query
    is an identifier of it; `tiers`: lower ones come first; `match_counts`: how many of the query's words it contains;
    `is_in_stock`.
    """

    groups: Sequence[str]
    is_explained: BoolArray
    has_identifier: BoolArray
    tiers: npt.NDArray[np.int64]
    match_counts: npt.NDArray[np.int64]
    is_in_stock: BoolArray


def best_variants(preference: VariantPreference, scores: FloatArray) -> list[int]:
    """The rows that are kept, in their order: of each group the first by the fields of `preference`, then by score.

    Words come before stock: a shopper who asks for red is not shown blue because red is sold out. The other variants
    are listed beside the result.
    """
    order = np.lexsort(
        (
            -scores, ~preference.is_in_stock, -preference.match_counts, preference.tiers, ~preference.has_identifier,
            ~preference.is_explained,
        )
    )  # fmt: skip
    best: dict[str, int] = {}
    for row in order.tolist():
        best.setdefault(preference.groups[row], row)
    return sorted(best.values())
