"""A personalised order of the catalogue: candidates by the query, then a small network over all signals.

The network is the one that retrieval serves for its fusion, with other features, and learns as that does: listwise,
from purchases that the signals have not seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.learned_fusion import FusionNetwork
from training.personal.companions import Companions
from training.personal.data import Wanted
from training.personal.signals import QUERY_FEATURES, SHOPPER_FEATURES, FloatArray, Signals
from training.search.fusion import RankedQuery

FEATURES = (*QUERY_FEATURES, *SHOPPER_FEATURES, "affinity")
CANDIDATES = 400
# For what is learned: so many candidates beside what was bought, so many lists of one query at most.
_LEARNED_CANDIDATES = 150
_LISTS_OF_A_QUERY = 60
# Popularity only decides among items that fit the query alike.
_POPULARITY_SHARE = 0.05

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Knowledge:
    """Of one past: what was counted, and what was learned from what is bought together."""

    signals: Signals
    companions: Companions

    def by_query(self, query: int) -> FloatArray:
        """[items]: how well each fits, before anything is learned."""
        of = dict(zip(QUERY_FEATURES, self.signals.query_features(query).T, strict=True))
        fit = of["coverage"] + of["label_coverage"] + of["share_of_item"] + of["cosine"]
        fitting: FloatArray = fit + _POPULARITY_SHARE * of["log_popularity"]
        return fitting

    def features(self, user: int, query: int, items: Places) -> FloatArray:
        """Shape [len(items), FEATURES]."""
        affinity = self.companions.affinity(self.signals.history(user), items)
        of_query, of_shopper = self.signals.query_features(query)[items], self.signals.shopper_features(user, items)
        return np.hstack([of_query, of_shopper, affinity[:, np.newaxis]])

    def new_to(self, user: int, scores: FloatArray) -> FloatArray:
        """`scores` with what the user has bought at the end."""
        scores = scores.copy()
        scores[self.signals.history(user)] = -np.inf
        return scores


@dataclass(frozen=True)
class PersonalRanker:
    """`columns` are the features that it looks at."""

    network: FusionNetwork
    columns: Sequence[int]

    def __call__(self, knowledge: Knowledge, user: int, query: int) -> FloatArray:
        """[items]: higher is better; what is no candidate stands below the candidates, in the order of the query."""
        first = knowledge.by_query(query)
        candidates = _best(first, CANDIDATES)
        scores = first - first.max() + self._lowest(first)
        features = knowledge.features(user, query, candidates)[:, list(self.columns)]
        scores[candidates] = self.network(features)
        return knowledge.new_to(user, scores)

    def _lowest(self, first: FloatArray) -> float:
        """Below all that the network can say."""
        return -float(np.abs(self.network.output).sum()) - 1.0


def lists(knowledge: Knowledge, wanted: Wanted, columns: Sequence[int], seed: int) -> list[RankedQuery]:
    """What the network learns from: who asked, what was bought, and what else would have fitted."""
    random = np.random.default_rng(seed)
    users_of = defaultdict[int, list[int]](list)
    for user, query in sorted(wanted):
        users_of[query].append(user)
    # What belongs to one query stands together: its features are computed once.
    drawn = (
        (user, query) for query, users in users_of.items() for user in random.permutation(users)[:_LISTS_OF_A_QUERY]
    )
    found = []
    for user, query in drawn:
        first = knowledge.new_to(user, knowledge.by_query(query))
        items = np.union1d(_best(first, _LEARNED_CANDIDATES), sorted(wanted[user, query]))
        gains = np.isin(items, sorted(wanted[user, query])).astype(np.float32)
        found.append(RankedQuery(knowledge.features(user, query, items)[:, list(columns)], gains))
    return found


def _best(scores: FloatArray, most: int) -> Places:
    if len(scores) <= most:
        return np.argsort(-scores, kind="stable")
    places = np.argpartition(-scores, most)[:most]
    ordered: Places = places[np.argsort(-scores[places], kind="stable")]
    return ordered
