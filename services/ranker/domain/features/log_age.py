"""How long a candidate has been in the catalogue, as log(1 + days); 0 where that is unknown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_features import UserFeatures

_DAY_S = 86_400.0


def log_age(request: RankingRequest, user: UserFeatures) -> npt.NDArray[np.float64]:
    """[n]."""
    if request.created_s is None:
        return np.zeros(len(request.item_ids))
    age_s = np.maximum(request.now_s - request.created_s, 0)
    log_days: npt.NDArray[np.float64] = np.log1p(np.where(request.created_s > 0, age_s / _DAY_S, 0))
    return log_days


FEATURE = CandidateFeature(value=log_age, group=ReasonType.AVAILABILITY, masked_as=MaskedAs.MEDIAN_OF_CANDIDATES)
