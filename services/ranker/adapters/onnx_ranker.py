"""The served ranker network: two ONNX graphs. The one of the user, with the events, runs once a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.common.arrays import FloatArray
from services.ranker.adapters.onnx_masking import MaskedNetwork
from services.ranker.adapters.version_manifest import read_manifest
from services.ranker.domain.candidate_features import CandidateFeatures, candidate_features
from services.ranker.domain.objective import Objective
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reranking import best_rows, with_rest_behind
from services.ranker.domain.scores import Ranker, Scores
from services.ranker.domain.user_features import IntArray, UserFeatures, user_features

USER_GRAPH, CANDIDATE_GRAPH = "user.onnx", "candidates.onnx"
USER_INPUTS = ("events", "event_rows", "event_types", "event_numbers", "long_term", "query", "context")
USER_OUTPUTS = ("keys", "values", "bias", "long", "asked", "first")
ITEM_INPUTS = ("vectors", "rows", "numbers")


class OnnxRanker:
    """One version of a network, read from its folder (docs/explanation/ranking.md).

    The network reranks the best candidates of the `weighted` sum, as many as its training pages showed; the rest stays
    behind these in its order. `objective` is called at each request; `name` is the model version of its answers. If the
    candidates' vectors are not of the model that the network was trained with, `otherwise` ranks. Raises ValueError for
    a folder that was trained on features of another version.
    """

    bias = USER_OUTPUTS.index("bias")

    def __init__(
        self, folder: Path, objective: Callable[[], Objective], weighted: Ranker, otherwise: Ranker, name: str = "",
        threads: int = 1,
    ) -> None:  # fmt: skip
        about = read_manifest(folder)
        self.model_version = name or f"ranker@{folder.name}"
        self.tasks: tuple[str, ...] = tuple(about["network"]["tasks"])
        self.vector_version: str = about["vector_version"]
        self._dimensions: int = about["network"]["dimensions"]
        self._rows = {item_id: row for row, item_id in enumerate(about["items"], start=1)}
        self._reranked = int(about["reranked"])
        self._objective, self._weighted, self._otherwise = objective, weighted, otherwise
        self._user, self._candidates = (_session(folder / name, threads) for name in (USER_GRAPH, CANDIDATE_GRAPH))

    def __call__(self, request: RankingRequest) -> Scores:
        if request.model_version != self.vector_version or request.vectors.shape[1] != self._dimensions:
            return self._otherwise(request)
        user = user_features(request)
        candidates = candidate_features(request, user)
        found = self.probabilities(self.user_side(user), candidates)
        tasks = {task: found[:, column] for column, task in enumerate(self.tasks)}
        total = self._with_rest_behind(request, self._objective().score(tasks, request.stocks))
        return Scores(
            total, tasks=tasks, model_version=self.model_version,
            masked=partial(MaskedNetwork, self, request, user, candidates, total), features=(user, candidates),
        )  # fmt: skip

    def _with_rest_behind(self, request: RankingRequest, scores: FloatArray) -> FloatArray:
        """[n]: the scores of the candidates that are reranked; the others between 0 and the lowest of them."""
        if len(scores) <= self._reranked:
            return scores
        first = self._weighted(request).total
        best = best_rows(first, self._reranked)
        return with_rest_behind(first, best, scores[best], float(scores[best].min())).astype(np.float32)

    def score(self, side: Sequence[FloatArray], candidates: CandidateFeatures, stocks: FloatArray) -> FloatArray:
        """[r, n]: the same n candidates for each of r users, with `numbers` [r, n, CANDIDATE_NUMBERS] of their own."""
        columns = candidates.vectors, self._rows_of(candidates.item_ids)
        count = len(candidates.numbers)
        vectors, rows = (np.broadcast_to(column, (count, *column.shape)) for column in columns)
        found = self._run(side, vectors, rows, candidates.numbers)
        return self._objective().score({task: found[..., n] for n, task in enumerate(self.tasks)}, stocks)

    def user_side(self, *users: UserFeatures) -> list[FloatArray]:
        """What all candidates of a user share; first axis: users."""
        # An empty history is one padded event: not every kernel takes an axis of length 0.
        longest = max(1, *(len(user.item_ids) for user in users))
        columns = [
            (
                np.pad(user.vectors, ((0, padding), (0, 0))), np.pad(self._rows_of(user.item_ids), (0, padding)),
                np.pad(user.types, (0, padding)), np.pad(user.numbers, ((0, padding), (0, 0))), user.long_term,
                user.query, user.context,
            )
            for user in users
            for padding in [longest - len(user.item_ids)]
        ]  # fmt: skip
        feed = {name: np.stack(arrays) for name, arrays in zip(USER_INPUTS, zip(*columns, strict=True), strict=True)}
        side: list[FloatArray] = self._user.run(None, feed)
        return side

    def probabilities(self, side: Sequence[FloatArray], candidates: CandidateFeatures) -> FloatArray:
        """Calibrated, [n, tasks], as if each candidate stood at the first place. `side` is of one user."""
        arrays = (candidates.vectors, self._rows_of(candidates.item_ids), candidates.numbers)
        found: FloatArray = self._run(side, *(array[np.newaxis] for array in arrays))[0]
        return found

    def _run(self, side: Sequence[FloatArray], *items: npt.NDArray[Any]) -> FloatArray:
        """ITEM_INPUTS [users, c, …] -> [users, c, tasks]."""
        feed = dict(zip(USER_OUTPUTS, side, strict=True)) | dict(zip(ITEM_INPUTS, items, strict=True))
        found: FloatArray = self._candidates.run(None, feed)[0]
        return found

    @property
    def dimensions(self) -> int:
        """Of the vectors."""
        return self._dimensions

    def close(self) -> None:
        """Frees the graphs' memory; a run in progress ends first."""
        del self._user, self._candidates

    def _rows_of(self, item_ids: Sequence[str]) -> IntArray:
        return np.array([self._rows.get(item_id, 0) for item_id in item_ids], np.int64)


def _session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Idle threads sleep instead of spinning: other services share these cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
