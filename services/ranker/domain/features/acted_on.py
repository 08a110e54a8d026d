"""Whether one of the user's last events is on the candidate itself."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_features import UserFeatures


def acted_on(request: RankingRequest, user: UserFeatures) -> BoolArray:
    """[n]."""
    known = set(user.item_ids)
    return np.array([item_id in known for item_id in request.item_ids], np.bool_)


FEATURE = CandidateFeature(
    value=acted_on, group=ReasonType.RECENT_HISTORY, masked_as=MaskedAs.ZERO, depends_on_single_events=True
)
