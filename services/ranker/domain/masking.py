"""A network's features with groups masked: what is not known is at its baseline (domain/attribution.py).

Each candidate feature says how it is masked. Vectors and ids of items belong to no group: their effect is part of the
baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.attribution import IntArray
from services.ranker.domain.candidate_feature import MaskedAs
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.event_shares import Basis
from services.ranker.domain.features import CANDIDATE_FEATURES, CANDIDATE_NUMBERS
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.reasons import GROUPS, ReasonType
from services.ranker.domain.user_features import CONTEXT, UserFeatures

# Items of the history that an explanation removes, one at a time.
MOST_REMOVED = 12
_FEATURES = tuple(CANDIDATE_FEATURES.values())
# [CANDIDATE_NUMBERS]: the place in GROUPS of each column.
_GROUP_OF = np.array([GROUPS.index(feature.group) for feature in _FEATURES])
_IS_MEDIAN = np.array([feature.masked_as is MaskedAs.MEDIAN_OF_CANDIDATES for feature in _FEATURES])
# Columns of scores that a model or counts made of the events.
_OF_BASIS = {
    Basis.SHOPPER: [CANDIDATE_NUMBERS.index(name) for name in ("shopper_match", "shopper_rank")],
    Basis.TOGETHER: [CANDIDATE_NUMBERS.index(name) for name in ("neighbour_match", "neighbour_rank")],
    Basis.SIMILAR: [column for column, feature in enumerate(_FEATURES) if feature.depends_on_single_events],
}
_OF_QUERY = [CONTEXT.index("has_query")]
_OF_HISTORY = [CONTEXT.index("has_history"), CONTEXT.index("event_count")]
_QUERY, _HISTORY, _AVAILABILITY = (
    GROUPS.index(group) for group in (ReasonType.QUERY_MATCH, ReasonType.RECENT_HISTORY, ReasonType.AVAILABILITY)
)


def masked_users(user: UserFeatures) -> list[UserFeatures]:
    """Four: nothing of the user known, the query, the history, both."""
    context = user.context.copy()
    context[_OF_QUERY] = 0
    unasked = replace(user, query=np.zeros_like(user.query), context=context)
    return [_without_history(unasked), _without_history(user), unasked, user]


def user_of(known: BoolArray) -> IntArray:
    """For each coalition [c]: the index of its user in `masked_users`."""
    which: IntArray = known[:, _QUERY] + 2 * known[:, _HISTORY].astype(np.intp)
    return which


def masked_numbers(candidates: CandidateFeatures, rows: list[int], known: BoolArray) -> FloatArray:
    """[c, n, CANDIDATE_NUMBERS] of these rows; medians are over all candidates."""
    baseline = np.where(_IS_MEDIAN, np.median(candidates.numbers, axis=0), 0).astype(np.float32)
    numbers: FloatArray = np.where(known[:, _GROUP_OF][:, None], candidates.numbers[rows], baseline)
    return numbers


def masked_stocks(stocks: FloatArray, known: BoolArray) -> FloatArray:
    """[c, n]: -1, not tracked, where the group is unknown."""
    masked: FloatArray = np.where(known[:, [_AVAILABILITY]], stocks, np.float32(-1))
    return masked


def without_basis(numbers: FloatArray, basis: Basis) -> FloatArray:
    """Numbers [n, CANDIDATE_NUMBERS] as if nothing followed from the events on this basis."""
    masked = numbers.copy()
    masked[:, _OF_BASIS[basis]] = 0
    return masked


def _removed_items(request: RankingRequest, user: UserFeatures) -> IntArray:
    """Rows of the profile that are removed one at a time: the items of greatest weight in the sequence of events."""
    acted = set(user.item_ids)
    weighty = np.argsort(-np.abs(request.profile.weights), kind="stable")
    found: IntArray = np.array([r for r in weighty if request.profile.item_ids[r] in acted][:MOST_REMOVED], np.intp)
    return found


@dataclass(frozen=True)
class Removal:
    """Some rows of candidates, n of them, with all events and without those on each of m `items` of the profile.

    `past` [1 + m, events] says which events of the sequence are removed, none of them first. `numbers` are
    [1 + m, n, CANDIDATE_NUMBERS].
    """

    items: IntArray
    past: BoolArray
    numbers: FloatArray
    profile_size: int

    def influences(self, scores: FloatArray) -> FloatArray:
        """[n, items of the profile]: how much each item's events raise the `scores` [1 + m, n]."""
        found = np.zeros((scores.shape[1], self.profile_size), np.float32)
        found[:, self.items] = (scores[0] - scores[1:]).T
        return found


def without_each(
    request: RankingRequest, user: UserFeatures, candidates: CandidateFeatures, rows: list[int]
) -> Removal:
    """As if there were no event on one item, at most MOST_REMOVED times: the items of greatest weight.

    The long-term vector and the number of events stay as they are: one event changes them little.
    """
    items, asked = _removed_items(request, user), request.take(rows)
    names = [request.profile.item_ids[item] for item in items]
    past = np.zeros((len(items) + 1, len(user.item_ids)), np.bool_)
    numbers = np.repeat(candidates.numbers[rows][None], len(items) + 1, axis=0)
    for place, (item, name) in enumerate(zip(items, names, strict=True), start=1):
        past[place] = [event == name for event in user.item_ids]
        left = ~past[place]
        rest = replace(
            asked, profile=request.profile.without(int(item)), user_history=request.user_history.without(name)
        )
        others = replace(
            user, item_ids=[event for event in user.item_ids if event != name], vectors=user.vectors[left],
            types=user.types[left], numbers=user.numbers[left],
        )  # fmt: skip
        for column, feature in enumerate(_FEATURES):
            if feature.depends_on_single_events:
                numbers[place, :, column] = feature.value(rest, others)
    return Removal(items, past, numbers, request.profile.size)


def _without_history(user: UserFeatures) -> UserFeatures:
    context = user.context.copy()
    context[_OF_HISTORY] = 0
    return replace(
        user, item_ids=(), vectors=user.vectors[:0], types=user.types[:0], numbers=user.numbers[:0],
        long_term=np.zeros_like(user.long_term), context=context,
    )  # fmt: skip
