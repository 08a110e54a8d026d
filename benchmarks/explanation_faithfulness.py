"""Whether an explanation is true of the ranker: what it names is taken out of the inputs, and the ranker asked again.

Nothing here looks at parts, masks or coalitions. A group goes out of the request itself, as if the shopper never had
it; an act goes out of the history, and the profile is made anew. What an explanation calls most important should then
change the score more than something drawn by lot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from services.ranker.domain.explanation import Explanation
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.scores import Ranker
from services.ranker.domain.user_history import UserHistory

REMOVABLE = tuple(group for group in ReasonType if group is not ReasonType.SPONSORED)
_RESAMPLES = 2_000
# A request, and the explanations of some of its rows.
Explained = tuple[RankingRequest, Mapping[int, Explanation]]


@dataclass(frozen=True)
class Removal:
    """What can be taken out of a request, which of it an explanation calls most important, and the request without it.

    `named` gives None for an explanation that names nothing.
    """

    options: Callable[[RankingRequest], Sequence[Any]]
    named: Callable[[Explanation], Any]
    without: Callable[[RankingRequest, Any], RankingRequest]


@dataclass(frozen=True)
class Difference:
    """How far scores change: mean over requests of (what is named - what is drawn), with a 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    named: float
    drawn: float
    requests: int


def difference(removal: Removal, ranker: Ranker, explained: Sequence[Explained], random: Random) -> Difference:
    """The draw is from all options, the named one included. Raises ValueError where no request has two options."""
    changes = []
    for request, told in explained:
        options = removal.options(request)
        if len(options) < 2:
            continue
        whole = ranker(request).total
        change = {option: np.abs(whole - ranker(removal.without(request, option)).total) for option in options}
        pairs = [
            (change[named][row], change[random.choice(options)][row])
            for row, one in told.items()
            if (named := removal.named(one)) is not None
        ]
        if pairs:
            changes.append(np.mean(pairs, axis=0))
    if not changes:
        raise ValueError("no request has anything to choose from")
    columns = np.array(changes)
    gains = columns[:, 0] - columns[:, 1]
    drawn = np.random.default_rng(random.randrange(2**32)).choice(gains, (_RESAMPLES, len(gains))).mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5)).tolist()
    named, by_lot = columns.mean(axis=0).tolist()
    return Difference(float(gains.mean()), low, high, named, by_lot, len(gains))


def without_group(request: RankingRequest, group: ReasonType) -> RankingRequest:
    """As if nothing of the group were known; of price, date and stock, which all have, the middle candidate's."""
    count, scores, profile = len(request.item_ids), request.retrieval_scores, request.profile
    if group is ReasonType.QUERY_MATCH:
        bounds = float(scores.min()), float(scores.max())
        return replace(request, query=None, retrieval_scores=np.full_like(scores, bounds[0]), retrieval_bounds=bounds)
    if group is ReasonType.RECENT_HISTORY:
        forgotten = _remade(request, UserHistory())
        return replace(forgotten, profile=replace(forgotten.profile, price=profile.price, prices=profile.prices))
    if group is ReasonType.PRICE_AFFINITY:
        return replace(request, prices=np.full(count, np.nanmedian(request.prices), np.float32))
    if group is ReasonType.POPULARITY:
        return replace(request, popularity=np.zeros(count, np.float32))
    middle = np.median(request.stocks[request.stocks != 0]) if request.stocks.any() else -1
    created_s = None if request.created_s is None else np.full(count, np.median(request.created_s))
    return replace(request, stocks=np.full(count, middle, np.float32), created_s=created_s)


def without_act(request: RankingRequest, item_id: str) -> RankingRequest:
    """As if the shopper had never acted on the item."""
    known = request.user_history
    recent, lasting, purchases = (
        [act for act in acts if act.item_id != item_id] for acts in (known.recent, known.lasting, known.purchases)
    )
    return _remade(request, UserHistory(recent, lasting, purchases, known.shown))


def loudest_group(told: Explanation) -> ReasonType:
    return max(REMOVABLE, key=lambda group: abs(told.contributions[group]))


def loudest_act(told: Explanation) -> str | None:
    return told.events[0].entry.item_id if told.events else None


OF_GROUPS = Removal(lambda request: REMOVABLE, loudest_group, without_group)
OF_ACTS = Removal(lambda request: request.profile.item_ids, loudest_act, without_act)


def _remade(request: RankingRequest, user_history: UserHistory) -> RankingRequest:
    profile = build_profile(user_history, request.model_version, request.vectors.shape[1], request.now_s)
    return replace(request, user_history=user_history, profile=profile)
