"""The served ranking stage of boosted trees: one score of the candidate features for each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.adapters.boosted_trees import BoostedTrees, DoubleArray
from services.ranker.adapters.version_manifest import read_manifest
from services.ranker.domain.candidate_features import CandidateFeatures, candidate_features
from services.ranker.domain.candidate_source import ListKind
from services.ranker.domain.event_shares import Basis
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.masking import masked_numbers, masked_stocks, without_basis, without_each
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.reranking import best_rows, with_rest_behind
from services.ranker.domain.scores import Ranker, Scores
from services.ranker.domain.user_features import UserFeatures, user_features

KIND, ORDER = "trees", "order.txt"


class TreesRanker:
    """One version, read from its folder (docs/explanation/ranking.md); `name` is the model version of its answers.

    The trees rerank the best candidates of the `weighted` sum, as in their training; the rest stays behind these in its
    order. The manifest says which kinds of lists the version `serves`; `otherwise` ranks the others. Raises ValueError
    for a folder that was trained on features of another version.
    """

    def __init__(self, folder: Path, weighted: Ranker, otherwise: Ranker, name: str) -> None:
        about = read_manifest(folder)
        self._trees = BoostedTrees(folder / ORDER)
        if tuple(about["features"]) != CANDIDATE_NUMBERS or self._trees.features != len(CANDIDATE_NUMBERS):
            raise ValueError(f"{folder} was trained on features of other names or order; train it again")
        self.model_version = name
        self.serves = frozenset(ListKind(kind) for kind in about["serves"])
        # In units of the score, what an item out of stock loses.
        self._spread = np.float32(about["spread"])
        self._reranked = int(about["reranked"])
        # By kind and task: intercept and slope of the logit.
        self._curves: Mapping[str, Mapping[str, tuple[float, float]]] = about["curves"]
        self._weighted, self._otherwise = weighted, otherwise

    def __call__(self, request: RankingRequest) -> Scores:
        if request.kind not in self.serves:
            return self._otherwise(request)
        user = user_features(request)
        candidates = candidate_features(request, user)
        raw = self._raw(request, candidates.numbers)
        total = self._in_stock(raw.astype(np.float32), request.stocks)
        curves = self._curves.get(request.kind.value, {})
        return Scores(
            total,
            tasks={task: _sigmoid(intercept + slope * raw) for task, (intercept, slope) in curves.items()},
            model_version=self.model_version,
            masked=partial(MaskedTrees, self, request, user, candidates, total),
            features=(user, candidates),
        )

    def _raw(self, request: RankingRequest, numbers: FloatArray) -> DoubleArray:
        """[n]: the raw score of the candidates that are reranked; the others behind them."""
        if len(numbers) <= self._reranked:
            return self._trees(numbers)
        first = self._weighted(request).total
        best = best_rows(first, self._reranked)
        return with_rest_behind(first, best, self._trees(numbers[best]), float(self._spread))

    def score(self, numbers: FloatArray, stocks: FloatArray) -> FloatArray:
        """[r, n]: of `numbers` [r, n, CANDIDATE_NUMBERS]; `stocks` [n] or [r, n]."""
        flat = self._trees(numbers.reshape(-1, numbers.shape[-1])).astype(np.float32)
        return self._in_stock(flat.reshape(numbers.shape[:-1]), stocks)

    def _in_stock(self, scores: FloatArray, stocks: FloatArray) -> FloatArray:
        found: FloatArray = scores - self._spread * (stocks == 0)
        return found


class MaskedTrees:
    """The candidates of `rows`, n of them, of a request whose features are computed."""

    def __init__(
        self,
        trees: TreesRanker,
        request: RankingRequest,
        user: UserFeatures,
        candidates: CandidateFeatures,
        total: FloatArray,
        rows: Sequence[int],
    ) -> None:
        """`total` [all candidates] are the scores that make the order."""
        self._trees, self._request, self._user, self._candidates = trees, request, user, candidates
        self._rows = list(rows)
        self._stocks = request.stocks[self._rows]
        # What puts a candidate behind those that are reranked belongs to no group.
        self._behind = total[self._rows] - trees.score(candidates.numbers[self._rows], self._stocks)

    def score(self, known: BoolArray) -> FloatArray:
        numbers = masked_numbers(self._candidates, self._rows, known)
        return self._trees.score(numbers, masked_stocks(self._stocks, known)) + self._behind

    def influences(self) -> FloatArray:
        """The score with all events less the score without those on one item."""
        removal = without_each(self._request, self._user, self._candidates, self._rows)
        return removal.influences(self._trees.score(removal.numbers, self._stocks))

    def of_history(self) -> Mapping[Basis, FloatArray]:
        """What the features of each basis add to the score."""
        numbers = self._candidates.numbers[self._rows]
        masked = np.stack([numbers, *(without_basis(numbers, basis) for basis in Basis)])
        whole, *others = self._trees.score(masked, self._stocks)
        return {basis: whole - rest for basis, rest in zip(Basis, others, strict=True)}


def _sigmoid(logits: DoubleArray) -> FloatArray:
    probabilities: FloatArray = (1 / (1 + np.exp(-np.clip(logits, -50, 50)))).astype(np.float32)
    return probabilities
