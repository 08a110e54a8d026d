"""A network's scores with less known: all coalitions, or all acts, in one run of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from services.ranker.domain.event import FloatArray
from services.ranker.domain.features import CandidateFeatures, UserFeatures
from services.ranker.domain.masking import left_out, masked_numbers, masked_stocks, masked_users, user_of, without_each
from services.ranker.domain.ranking import BoolArray, RankingRequest

# What the network adds to the attention for padding.
_PAST = -1e4


class Network(Protocol):
    """Two graphs; `bias` is the place among a side's arrays of what is added to the attention."""

    bias: int

    def user_side(self, *users: UserFeatures) -> list[FloatArray]: ...
    def score(self, side: Sequence[FloatArray], candidates: CandidateFeatures, stocks: FloatArray) -> FloatArray: ...


class MaskedNetwork:
    """The candidates of `rows`, n of them, of a request whose features are there already."""

    def __init__(
        self,
        network: Network,
        request: RankingRequest,
        user: UserFeatures,
        candidates: CandidateFeatures,
        rows: Sequence[int],
    ) -> None:
        self._network, self._request, self._user, self._candidates = network, request, user, candidates
        self._rows = list(rows)
        # Among all coalitions there are but four users; the last one is known altogether.
        self._side = network.user_side(*masked_users(user))

    def score(self, known: BoolArray) -> FloatArray:
        numbers, stocks = masked_numbers(self._candidates, self._rows, known), self._request.stocks[self._rows]
        return self._score([array[user_of(known)] for array in self._side], numbers, masked_stocks(stocks, known))

    def acts(self) -> FloatArray:
        """Told by leaving out: keys and values are an act's own, so to leave one out is to look past it."""
        told = np.zeros((len(self._rows), self._request.profile.size), np.float32)
        past, numbers = without_each(self._request, self._user, self._candidates, self._rows)
        if not len(past):
            return told
        # The first place is for none left out.
        side = [np.repeat(array[-1:], len(past) + 1, axis=0) for array in self._side]
        side[self._network.bias][1:, 0, 0, :-1][past] = _PAST
        numbers = np.concatenate([self._candidates.numbers[self._rows][None], numbers])
        scores = self._score(side, numbers, self._request.stocks[self._rows])
        told[:, left_out(self._request, self._user)] = (scores[0] - scores[1:]).T
        return told

    def _score(self, side: Sequence[FloatArray], numbers: FloatArray, stocks: FloatArray) -> FloatArray:
        """[r, n]: the same candidates beside r users; `numbers` [r, n, CANDIDATE_NUMBERS]."""
        item_ids = [self._request.item_ids[row] for row in self._rows]
        return self._network.score(
            side, CandidateFeatures(item_ids, self._candidates.vectors[self._rows], numbers), stocks
        )
