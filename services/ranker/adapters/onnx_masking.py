"""A network's scores with groups masked, or without single events: all of them in one run of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.event_shares import Basis
from services.ranker.domain.masking import (
    masked_numbers,
    masked_stocks,
    masked_users,
    user_of,
    without_each,
)
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.user_features import UserFeatures

# What the network adds to the attention of padding.
_PAST = -1e4


class Network(Protocol):
    """Two graphs; `bias` is the index, among the arrays of a user's side, of what is added to the attention."""

    bias: int

    def user_side(self, *users: UserFeatures) -> list[FloatArray]: ...
    def score(self, side: Sequence[FloatArray], candidates: CandidateFeatures, stocks: FloatArray) -> FloatArray: ...


class MaskedNetwork:
    """The candidates of `rows`, n of them, of a request whose features are computed."""

    def __init__(
        self,
        network: Network,
        request: RankingRequest,
        user: UserFeatures,
        candidates: CandidateFeatures,
        total: FloatArray,
        rows: Sequence[int],
    ) -> None:
        """`total` [all candidates] are the scores that make the order."""
        self._network, self._request, self._user, self._candidates = network, request, user, candidates
        self._rows = list(rows)
        # All coalitions together have four different users; the last one is fully known.
        self._side = network.user_side(*masked_users(user))
        self._stocks = request.stocks[self._rows]
        whole = self._score([array[-1:] for array in self._side], candidates.numbers[self._rows][None], self._stocks)
        # What puts a candidate behind those that are reranked belongs to no group.
        self._behind: FloatArray = total[self._rows] - whole[0]

    def score(self, known: BoolArray) -> FloatArray:
        numbers, side = masked_numbers(self._candidates, self._rows, known), [a[user_of(known)] for a in self._side]
        found: FloatArray = self._score(side, numbers, masked_stocks(self._stocks, known)) + self._behind
        return found

    def influences(self) -> FloatArray:
        """The score with all events less the score without those on one item.

        Each event has keys and values of its own, so that the attention can skip it.
        """
        removal = without_each(self._request, self._user, self._candidates, self._rows)
        side = [np.repeat(array[-1:], len(removal.past), axis=0) for array in self._side]
        if removal.past.any():
            side[self._network.bias][:, 0, 0, :-1][removal.past] = _PAST
        return removal.influences(self._score(side, removal.numbers, self._stocks))

    def of_history(self) -> Mapping[Basis, FloatArray]:
        """Nothing: the influences are in units of the score."""
        return {}

    def _score(self, side: Sequence[FloatArray], numbers: FloatArray, stocks: FloatArray) -> FloatArray:
        """[r, n]: the same candidates for each of r users; `numbers` [r, n, CANDIDATE_NUMBERS]."""
        item_ids = [self._request.item_ids[row] for row in self._rows]
        return self._network.score(
            side, CandidateFeatures(item_ids, self._candidates.vectors[self._rows], numbers), stocks
        )
