"""A network's features with groups masked: what is not known stands at its baseline (domain/attribution.py).

What an item may well be without (a match, a similarity, popularity) goes to 0, as features.py writes it where there is
none. Price, date and stock every item has: there the network never learned what "unknown" means, and the middle of the
candidates takes their place, in stock. Vectors and ids of items are no group's: what they say alone is the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from services.ranker.domain.attribution import GROUPS, IntArray
from services.ranker.domain.event import FloatArray
from services.ranker.domain.features import CANDIDATE_NUMBERS, CONTEXT, CandidateFeatures, UserFeatures
from services.ranker.domain.ranking import BoolArray, RankingRequest, ReasonType, history_match

GROUP_OF: Mapping[str, ReasonType] = {
    "query_match": ReasonType.QUERY_MATCH,
    "query_cosine": ReasonType.QUERY_MATCH,
    "history_match": ReasonType.RECENT_HISTORY,
    "lasting_cosine": ReasonType.RECENT_HISTORY,
    "acted_on": ReasonType.RECENT_HISTORY,
    "shown_without_click": ReasonType.RECENT_HISTORY,
    "log_price": ReasonType.PRICE_AFFINITY,
    "price_known": ReasonType.PRICE_AFFINITY,
    "price_distance": ReasonType.PRICE_AFFINITY,
    "price_affinity": ReasonType.PRICE_AFFINITY,
    "popularity": ReasonType.POPULARITY,
    "log_popularity": ReasonType.POPULARITY,
    "log_age": ReasonType.AVAILABILITY,
    "age_known": ReasonType.AVAILABILITY,
    "log_stock": ReasonType.AVAILABILITY,
    "out_of_stock": ReasonType.AVAILABILITY,
}
_MIDDLE = ("log_price", "price_known", "price_distance", "price_affinity", "log_age", "age_known", "log_stock")
LEFT_OUT = 12
# [16]: the place in GROUPS of each column of CANDIDATE_NUMBERS.
_GROUP_ROWS = np.array([GROUPS.index(GROUP_OF[name]) for name in CANDIDATE_NUMBERS])
_HAS_MIDDLE = np.array([name in _MIDDLE for name in CANDIDATE_NUMBERS])
_OF_QUERY, _OF_HISTORY = ([CONTEXT.index(name) for name in of] for of in (["has_query"], ["has_history", "act_count"]))
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
    """Of each coalition [c]: which of `masked_users` it sees."""
    which: IntArray = known[:, _QUERY] + 2 * known[:, _HISTORY].astype(np.intp)
    return which


def masked_numbers(candidates: CandidateFeatures, rows: list[int], known: BoolArray) -> FloatArray:
    """[c, n, CANDIDATE_NUMBERS] of these rows; the middle is that of all candidates."""
    baseline = np.where(_HAS_MIDDLE, np.median(candidates.numbers, axis=0), 0).astype(np.float32)
    numbers: FloatArray = np.where(known[:, _GROUP_ROWS][:, None], candidates.numbers[rows], baseline)
    return numbers


def masked_stocks(stocks: FloatArray, known: BoolArray) -> FloatArray:
    """[c, n]: -1, not tracked, where the group is unknown."""
    masked: FloatArray = np.where(known[:, [_AVAILABILITY]], stocks, np.float32(-1))
    return masked


def left_out(request: RankingRequest, user: UserFeatures) -> IntArray:
    """Rows of the profile that are looked past one at a time: its weightiest items of the sequence, at most 12."""
    acted = set(user.item_ids)
    weighty = np.argsort(-np.abs(request.profile.weights), kind="stable")
    found: IntArray = np.array([r for r in weighty if request.profile.item_ids[r] in acted][:LEFT_OUT], np.intp)
    return found


def without_each(
    request: RankingRequest, user: UserFeatures, candidates: CandidateFeatures, rows: list[int]
) -> tuple[BoolArray, FloatArray]:
    """As if the shopper had acted on all but one item, for each of `left_out`.

    (which acts of the sequence are looked past [m, acts], numbers [m, n, CANDIDATE_NUMBERS] of these rows). The lasting
    taste and the number of acts stay as they are: of them one act moves little.
    """
    profile, items = request.profile, left_out(request, user)
    names = [profile.item_ids[item] for item in items]
    past = np.array([[act == name for act in user.item_ids] for name in names], np.bool_)
    numbers = np.repeat(candidates.numbers[rows][None], len(items), axis=0)
    match, own = CANDIDATE_NUMBERS.index("history_match"), CANDIDATE_NUMBERS.index("acted_on")
    for place, item in enumerate(items):
        others = np.delete(np.arange(profile.size), item)
        rest = replace(
            profile, item_ids=tuple(profile.item_ids[row] for row in others), vectors=profile.vectors[others],
            weights=profile.weights[others],
        )  # fmt: skip
        numbers[place, :, match] = history_match(request.vectors[rows], rest)
        numbers[place, [request.item_ids[row] == names[place] for row in rows], own] = 0
    return past.reshape(len(items), len(user.item_ids)), numbers


def _without_history(user: UserFeatures) -> UserFeatures:
    context = user.context.copy()
    context[_OF_HISTORY] = 0
    return replace(
        user, item_ids=(), vectors=user.vectors[:0], types=user.types[:0], numbers=user.numbers[:0],
        long_term=np.zeros_like(user.long_term), context=context,
    )  # fmt: skip
