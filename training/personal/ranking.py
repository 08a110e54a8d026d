"""A personalised ranking of the catalogue: candidates by the query, then a small network over all features.

The network has the form of retrieval's learned fusion, with other features, and the same listwise training, on
purchases that were held out of the past from which the features are computed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.learned_fusion import FusionNetwork
from training.personal.co_purchase import CoPurchaseVectors
from training.personal.data import Targets
from training.personal.signals import QUERY_FEATURES, USER_FEATURES, FloatArray, Signals
from training.search.fusion import RankedQuery

FEATURES = (*QUERY_FEATURES, *USER_FEATURES, "affinity")
CANDIDATES = 400
# Training lists: candidates beside the bought items, and the maximum of lists per query.
_TRAINING_CANDIDATES = 150
_LISTS_PER_QUERY = 60
# Small: popularity only decides among items that match the query equally.
_POPULARITY_SHARE = 0.05

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class PersonalFeatures:
    """Features from one past: counts, and co-purchase vectors."""

    signals: Signals
    co_purchase: CoPurchaseVectors

    def query_score(self, query: int) -> FloatArray:
        """[items]: a fixed sum of query features, which selects the candidates."""
        of = dict(zip(QUERY_FEATURES, self.signals.query_features(query).T, strict=True))
        fit = of["coverage"] + of["label_coverage"] + of["share_of_item"] + of["cosine"]
        fitting: FloatArray = fit + _POPULARITY_SHARE * of["log_popularity"]
        return fitting

    def features(self, user: int, query: int, items: Rows) -> FloatArray:
        """Shape [len(items), FEATURES]."""
        affinity = self.co_purchase.affinity(self.signals.history(user), items)
        of_query, of_user = self.signals.query_features(query)[items], self.signals.user_features(user, items)
        return np.hstack([of_query, of_user, affinity[:, np.newaxis]])

    def bought_last(self, user: int, scores: FloatArray) -> FloatArray:
        """`scores` [items] with −inf for the items that the user has bought."""
        scores = scores.copy()
        scores[self.signals.history(user)] = -np.inf
        return scores


@dataclass(frozen=True)
class PersonalRanker:
    """`columns` are the indices of the features that `network` reads."""

    network: FusionNetwork
    columns: Sequence[int]

    def __call__(self, features: PersonalFeatures, user: int, query: int) -> FloatArray:
        """[items], higher is better; items that are no candidates are below all candidates, by `query_score`."""
        first = features.query_score(query)
        candidates = _best(first, CANDIDATES)
        scores = first - first.max() + self._below_candidates()
        scores[candidates] = self.network(features.features(user, query, candidates)[:, list(self.columns)])
        return features.bought_last(user, scores)

    def _below_candidates(self) -> float:
        """A score below the minimum of the network's output, whose hidden units are in [−1, 1]."""
        return -float(np.abs(self.network.output).sum()) - 1.0


def training_lists(
    features: PersonalFeatures, targets: Targets, columns: Sequence[int], seed: int
) -> list[RankedQuery]:
    """For (user, query) pairs with targets: the features and gains of the bought items and of the best candidates."""
    random = np.random.default_rng(seed)
    users_of = defaultdict[int, list[int]](list)
    for user, query in sorted(targets):
        users_of[query].append(user)
    # Grouped by query, whose features are then computed once.
    drawn = (
        (user, query) for query, users in users_of.items() for user in random.permutation(users)[:_LISTS_PER_QUERY]
    )
    found = []
    for user, query in drawn:
        first = features.bought_last(user, features.query_score(query))
        items = np.union1d(_best(first, _TRAINING_CANDIDATES), sorted(targets[user, query]))
        gains = np.isin(items, sorted(targets[user, query])).astype(np.float32)
        found.append(RankedQuery(features.features(user, query, items)[:, list(columns)], gains))
    return found


def _best(scores: FloatArray, most: int) -> Rows:
    if len(scores) <= most:
        return np.argsort(-scores, kind="stable")
    rows = np.argpartition(-scores, most)[:most]
    ordered: Rows = rows[np.argsort(-scores[rows], kind="stable")]
    return ordered
