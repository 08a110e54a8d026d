"""Whether it is known since when a candidate has been in the catalogue."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_features import UserFeatures


def age_known(request: RankingRequest, user: UserFeatures) -> BoolArray:
    """[n]."""
    return np.zeros(len(request.item_ids), np.bool_) if request.created_s is None else request.created_s > 0


FEATURE = CandidateFeature(value=age_known, group=ReasonType.AVAILABILITY, masked_as=MaskedAs.MEDIAN_OF_CANDIDATES)
