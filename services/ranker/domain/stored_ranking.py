"""A ranking as it was made: what later pages, the event log and training read of it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, Int8Array, unit_rows
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.candidate_source import CandidateSource
from services.ranker.domain.event import ItemFeatures
from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION
from services.ranker.domain.person import person_key
from services.ranker.domain.shown_ad import ShownAd
from services.ranker.domain.shown_prices import ShownPrices
from services.ranker.domain.user_features import UserFeatures

# The first items of a ranking keep their vectors, for training: few customers see more.
ITEMS_WITH_VECTORS = 40


@dataclass(frozen=True)
class ItemColumns:
    """What is known of the first m items of a ranking: columns of length m, of which few rows are ever read.

    `vectors` [m, d] of model `model_version` are as they came: directions in int8, or float16 or float32. A zero row:
    the item has none. `prices` [m] are NaN where unknown.
    """

    item_ids: Sequence[str] = ()
    vectors: Int8Array | npt.NDArray[np.floating] = field(default_factory=lambda: np.zeros((0, 0), np.int8))
    model_version: str = ""
    prices: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    categories: Sequence[str] = ()
    brands: Sequence[str] = ()

    def features(self, item_ids: Container[str]) -> list[ItemFeatures]:
        """Of those of the items that have a vector."""
        rows = [row for row, item_id in enumerate(self.item_ids) if item_id in item_ids and self.vectors[row].any()]
        vectors = self.vectors[rows].astype(np.float32)
        if self.vectors.dtype == np.int8:
            vectors = unit_rows(vectors)
        return [
            ItemFeatures(
                self.item_ids[row], vector, self.model_version, float(self.prices[row]), self.categories[row],
                self.brands[row],
            )
            for row, vector in zip(rows, vectors, strict=True)
        ]  # fmt: skip


@dataclass(frozen=True)
class LoggedFeatures:
    """The features that the ranker used, of n candidates and of the requesting person.

    `version` is FEATURES_VERSION of the time. `numbers` [n, names], float32, has the columns `names`. The last m events
    of the person, newest first: `event_item_ids` [m], `event_types` [m], `event_numbers` [m, numbers of an event],
    float32. `long_term` and `query` [d], of the model `vector_version`, are zero where there is none; they are kept as
    float16. `context` [numbers of the context], float32.
    """

    version: int
    vector_version: str
    names: Sequence[str]
    numbers: FloatArray
    event_item_ids: Sequence[str]
    event_types: npt.NDArray[np.int64]
    event_numbers: FloatArray
    long_term: FloatArray
    query: FloatArray
    context: FloatArray

    @classmethod
    def of(
        cls, user: UserFeatures, candidates: CandidateFeatures, rows: Sequence[int], vector_version: str
    ) -> LoggedFeatures:
        """Of these rows of the candidates, in their order."""
        return cls(
            FEATURES_VERSION, vector_version, CANDIDATE_NUMBERS, candidates.numbers[list(rows)], user.item_ids,
            user.types, user.numbers, user.long_term, user.query, user.context,
        )  # fmt: skip


@dataclass(frozen=True)
class LoggedPolicy:
    """How the order of n items was made. `positions` [n], from 1, are those before exploration; `share` explored.

    `tiers` [n]: items with a lower number come first, whatever their scores; 0: the query names them.
    """

    positions: npt.NDArray[np.int32]
    tiers: npt.NDArray[np.int32]
    share: float

    def take(self, rows: Sequence[int]) -> LoggedPolicy:
        return replace(self, positions=self.positions[list(rows)], tiers=self.tiers[list(rows)])


@dataclass(frozen=True)
class PageAnswer:
    """How the gateway answered with a page. `degradations`: (stage, reason), as common.proto numbers them.

    `placement`: where the page was shown; empty in records from before it was logged.
    """

    latency_ms: float
    degradations: Sequence[tuple[int, int]] = ()
    placement: str = ""


@dataclass(frozen=True)
class Interleaving:
    """Which arm of an experiment brought each of n items. `arms`: the control arm and the other one. `teams` [n]: the
    place of the arm in `arms`, from 1; 0: the item counts for neither.
    """

    experiment: str
    arms: tuple[str, str]
    teams: Sequence[int]

    def take(self, rows: Sequence[int]) -> Interleaving:
        return replace(self, teams=[self.teams[row] for row in rows])


@dataclass(frozen=True)
class StoredRanking:
    """Columns of equal length n, best first.

    `propensities` are the probabilities that the policy put an item at its place. `leg_scores` are retrieval's, by leg.
    `experiment_arms` are by experiment. `ranked_s` in seconds since the epoch. `logged` is None if the ranker did not
    make the order. `items` are the first items; training needs the vectors of those that were shown. `prices`: of a
    page of the log, those that were shown; None if no price was known, and in records from before prices were logged.
    `ads`: of a page of the log, its sponsored places.
    `policy`: None if the ranker did not make the order, and in records from before it was logged. `answer`: of a page
    of the log; None in records from before it was logged. A ranking without items is that of an answer without results.
    `interleaving`: None if the order is that of one arm; a ranking with it has no `policy`, since two made it.
    """

    ranking_id: str
    user_id: str
    visitor_id: str
    session_id: str
    query: str
    model_version: str
    item_ids: Sequence[str]
    scores: FloatArray
    propensities: FloatArray
    total_size: int
    ranked_s: float
    candidate_source: CandidateSource = CandidateSource.UNSPECIFIED
    experiment_arms: Mapping[str, str] = field(default_factory=dict)
    leg_scores: Mapping[str, FloatArray] = field(default_factory=dict)
    logged: LoggedFeatures | None = None
    items: ItemColumns = field(default_factory=ItemColumns)
    prices: ShownPrices | None = None
    ads: Sequence[ShownAd] = ()
    policy: LoggedPolicy | None = None
    answer: PageAnswer | None = None
    interleaving: Interleaving | None = None

    @property
    def person(self) -> str:
        return person_key(self.user_id, self.visitor_id)

    def take(self, rows: Sequence[int]) -> StoredRanking:
        """The ranking with these rows only, without `items`, `prices`, `ads` and `answer`."""
        at = list(rows)
        return replace(
            self, item_ids=[self.item_ids[row] for row in at], scores=self.scores[at],
            propensities=self.propensities[at], leg_scores={leg: of[at] for leg, of in self.leg_scores.items()},
            logged=None if self.logged is None else replace(self.logged, numbers=self.logged.numbers[at]),
            policy=None if self.policy is None else self.policy.take(at),
            interleaving=None if self.interleaving is None else self.interleaving.take(at),
            items=ItemColumns(), prices=None, ads=(), answer=None,
        )  # fmt: skip

    def reordered_as(self, other: StoredRanking) -> StoredRanking:
        """`other` with what is known here of its items; unchanged if it is of another person or has another item."""
        rows = {item_id: row for row, item_id in enumerate(self.item_ids)}
        if other.person != self.person or not set(other.item_ids) <= rows.keys():
            return other
        known = self.take([rows[item_id] for item_id in other.item_ids])
        return replace(
            known, ranking_id=other.ranking_id, scores=other.scores, ranked_s=other.ranked_s, items=self.items,
            model_version=other.model_version, interleaving=other.interleaving,
            policy=known.policy if other.interleaving is None else None,
        )  # fmt: skip
