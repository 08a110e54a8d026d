"""The features of all candidates as one matrix, computed by the same code for training and for serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.features import CANDIDATE_FEATURES
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.user_features import UserFeatures, user_features


@dataclass(frozen=True)
class CandidateFeatures:
    """n candidates: `vectors` [n, d] unit or zero rows, `numbers` [n, CANDIDATE_NUMBERS]."""

    item_ids: Sequence[str]
    vectors: FloatArray
    numbers: FloatArray

    def take(self, rows: Sequence[int]) -> CandidateFeatures:
        """Those of these candidates only."""
        at = list(rows)
        return CandidateFeatures([self.item_ids[row] for row in at], self.vectors[at], self.numbers[at])


def features_of(request: RankingRequest) -> tuple[UserFeatures, CandidateFeatures]:
    user = user_features(request)
    return user, candidate_features(request, user)


def candidate_features(request: RankingRequest, user: UserFeatures) -> CandidateFeatures:
    numbers = np.empty((len(request.item_ids), len(CANDIDATE_FEATURES)), np.float32)
    for column, feature in enumerate(CANDIDATE_FEATURES.values()):
        numbers[:, column] = feature.value(request, user)
    return CandidateFeatures(request.item_ids, request.vectors, numbers)
