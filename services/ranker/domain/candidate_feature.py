"""One feature of a candidate: how it is computed, which group of reasons it belongs to, and how it is masked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy.typing as npt

from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_features import UserFeatures


class MaskedAs(Enum):
    """The value of a feature while its group is masked in an explanation."""

    # For what a candidate may lack: the feature is 0 where there is nothing to know.
    ZERO = "zero"
    # For what every candidate has, such as a price: a model never learned what "unknown" means there.
    MEDIAN_OF_CANDIDATES = "median of candidates"


@dataclass(frozen=True)
class CandidateFeature:
    """`value` gives [n], one finite number for each candidate of the request.

    `depends_on_single_events`: an explanation recomputes the feature without one item of the history at a time.
    """

    value: Callable[[RankingRequest, UserFeatures], npt.NDArray[Any]]
    group: ReasonType
    masked_as: MaskedAs
    depends_on_single_events: bool = False
