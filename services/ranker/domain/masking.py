"""A network's features with groups masked: what is not known stands at its baseline (domain/attribution.py).

What an item may well be without (a match, a likeness, popularity) goes to 0, as features.py writes it where there is
none. Price, date and stock every item has: there the network never learned what "unknown" means, and the middle of the
candidates takes their place, in stock. Vectors and ids of items are no group's: what they say alone is the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.ranker.domain.attribution import GROUPS, BoolArray
from services.ranker.domain.event import FloatArray
from services.ranker.domain.features import CANDIDATE_NUMBERS, CONTEXT, CandidateFeatures, UserFeatures
from services.ranker.domain.ranking import ReasonType

GROUP_OF: Mapping[str, ReasonType] = {
    "query_match": ReasonType.QUERY_MATCH,
    "query_cosine": ReasonType.QUERY_MATCH,
    "history_match": ReasonType.RECENT_HISTORY,
    "lasting_cosine": ReasonType.RECENT_HISTORY,
    "acted_on": ReasonType.RECENT_HISTORY,
    "seen_in_vain": ReasonType.RECENT_HISTORY,
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


def user_of(known: BoolArray) -> npt.NDArray[np.intp]:
    """Of each coalition [c]: which of `masked_users` it sees."""
    which: npt.NDArray[np.intp] = known[:, _QUERY] + 2 * known[:, _HISTORY].astype(np.intp)
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


def _without_history(user: UserFeatures) -> UserFeatures:
    context = user.context.copy()
    context[_OF_HISTORY] = 0
    return replace(
        user, item_ids=(), vectors=user.vectors[:0], types=user.types[:0], numbers=user.numbers[:0],
        long_term=np.zeros_like(user.long_term), context=context,
    )  # fmt: skip
