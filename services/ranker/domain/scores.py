"""What a ranker answers: scores, their parts, and scores with groups masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.event_shares import Basis
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_features import UserFeatures


class Masked(Protocol):
    """Some of a request's candidates, n of them, scored as if less were known (domain/attribution.py)."""

    def score(self, known: BoolArray) -> npt.NDArray[np.floating[Any]]:
        """Scores [c, n]; `known` [c, 6] says which groups are known, in the order of ReasonType."""

    def influences(self) -> FloatArray:
        """[n, items of the profile]: how much the events on each item raise a candidate's score; negative: lower it."""

    def of_history(self) -> Mapping[Basis, FloatArray]:
        """[n] each: the parts of the score that follow from the history, to which influences are scaled.

        Empty: `influences` are in units of the score, and there are no others.
        """


@dataclass(frozen=True)
class Scores:
    """`total` [n] makes the order. Every array has shape [n].

    `parts` add up to `total`; a ranker that is no sum has none. `tasks` are probabilities by task ("click", "cart",
    "purchase"); a ranker that predicts nothing has none. `model_version` is empty for a ranker of one version. `masked`
    scores some rows with groups masked; None: the `parts` do. `features` are those that the ranker computed, if any.
    `of_history` add up to the part of the history, if the ranker is a sum.
    """

    total: FloatArray
    parts: Mapping[ReasonType, FloatArray] = field(default_factory=dict)
    tasks: Mapping[str, FloatArray] = field(default_factory=dict)
    model_version: str = ""
    masked: Callable[[Sequence[int]], Masked] | None = None
    features: tuple[UserFeatures, CandidateFeatures] | None = None
    of_history: Mapping[Basis, FloatArray] = field(default_factory=dict)

    def take(self, rows: Sequence[int]) -> Scores:
        """The scores of these candidates only."""
        at, masked = list(rows), self.masked
        return Scores(
            self.total[at],
            {group: part[at] for group, part in self.parts.items()},
            {task: values[at] for task, values in self.tasks.items()},
            self.model_version,
            None if masked is None else lambda wanted: masked([at[row] for row in wanted]),
            None if self.features is None else (self.features[0], self.features[1].take(at)),
            {basis: part[at] for basis, part in self.of_history.items()},
        )

    @classmethod
    def sum_of(cls, parts: Mapping[ReasonType, FloatArray]) -> Scores:
        total: FloatArray = reduce(np.add, parts.values()).astype(np.float32, copy=False)
        return cls(total, parts)


Ranker: TypeAlias = Callable[[RankingRequest], Scores]
