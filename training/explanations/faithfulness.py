"""Faithfulness of explanations by removal: remove the input that an explanation calls most important, and rank again.

The score of the explained item should then change more than after the removal of a random input (deletion test; Samek
et al., IEEE TNNLS 2017). A feature group is removed from the request itself, an interaction from the user history, from
which the profile is recomputed. Parts of scores, masks and coalitions are not used, so the check is independent of how
the explanation was computed.
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
from training.bootstrap import mean_interval

REMOVABLE = tuple(group for group in ReasonType if group is not ReasonType.SPONSORED)
# A request, and explanations by row of its candidates.
Explained = tuple[RankingRequest, Mapping[int, Explanation]]


@dataclass(frozen=True)
class Removal:
    """A kind of input: its `options` in a request, the most important one in an explanation, a request `without` one.

    `named` returns None for an explanation that names no such input.
    """

    options: Callable[[RankingRequest], Sequence[Any]]
    named: Callable[[Explanation], Any]
    without: Callable[[RankingRequest, Any], RankingRequest]


@dataclass(frozen=True)
class Difference:
    """Change of scores after the removal of the named and of a random (`drawn`) input, means over requests.

    `mean`, `low`, `high`: named − drawn, with its 95 % interval by the bootstrap over requests.
    """

    mean: float
    low: float
    high: float
    named: float
    drawn: float
    requests: int


def difference(removal: Removal, ranker: Ranker, explained: Sequence[Explained], random: Random) -> Difference:
    """The random input is any option, the named one included. Raises ValueError if no request has two options."""
    changes = []
    for request, explanations in explained:
        options = removal.options(request)
        if len(options) < 2:
            continue
        whole = ranker(request).total
        change = {option: np.abs(whole - ranker(removal.without(request, option)).total) for option in options}
        pairs = [
            (change[named][row], change[random.choice(options)][row])
            for row, explanation in explanations.items()
            if (named := removal.named(explanation)) is not None
        ]
        if pairs:
            changes.append(np.mean(pairs, axis=0))
    if not changes:
        raise ValueError("no request has two inputs to choose from")
    columns = np.array(changes)
    gains = columns[:, 0] - columns[:, 1]
    low, high = mean_interval(gains, random.randrange(2**32), digits=6)
    named, drawn = columns.mean(axis=0).tolist()
    return Difference(float(gains.mean()), low, high, named, drawn, len(gains))


def without_group(request: RankingRequest, group: ReasonType) -> RankingRequest:
    """The request without the inputs of one group; prices, dates and stocks become the candidates' median."""
    count, profile = len(request.item_ids), request.profile
    if group is ReasonType.QUERY_MATCH:
        return replace(
            request, query=None, retrieval_scores=np.zeros(count, np.float32), retrieval_bounds=(0.0, 1.0),
            type_match=None, dense_scores=None, lexical_scores=None,
        )  # fmt: skip
    if group is ReasonType.RECENT_HISTORY:
        empty = _with_history(request, UserHistory())
        return replace(empty, profile=replace(empty.profile, price=profile.price, prices=profile.prices))
    if group is ReasonType.PRICE_AFFINITY:
        return replace(request, prices=np.full(count, np.nanmedian(request.prices), np.float32))
    if group is ReasonType.POPULARITY:
        return replace(request, popularity=np.zeros(count, np.float32))
    middle = np.median(request.stocks[request.stocks != 0]) if request.stocks.any() else -1
    created_s = None if request.created_s is None else np.full(count, np.median(request.created_s))
    return replace(request, stocks=np.full(count, middle, np.float32), created_s=created_s)


def without_interaction(request: RankingRequest, item_id: str) -> RankingRequest:
    """The request without the user's interactions with the item."""
    known = request.user_history
    recent, lasting, purchases = (
        [entry for entry in entries if entry.item_id != item_id]
        for entries in (known.recent, known.lasting, known.purchases)
    )
    return _with_history(request, UserHistory(recent, lasting, purchases, known.shown))


def largest_group(explanation: Explanation) -> ReasonType:
    """The group with the largest absolute contribution."""
    return max(REMOVABLE, key=lambda group: abs(explanation.contributions[group]))


def first_interaction(explanation: Explanation) -> str | None:
    """Item id of the most influential event."""
    return explanation.events[0].entry.item_id if explanation.events else None


OF_GROUPS = Removal(lambda request: REMOVABLE, largest_group, without_group)
OF_INTERACTIONS = Removal(lambda request: request.profile.item_ids, first_interaction, without_interaction)


def _with_history(request: RankingRequest, user_history: UserHistory) -> RankingRequest:
    profile = build_profile(user_history, request.model_version, request.vectors.shape[1], request.now_s)
    return replace(request, user_history=user_history, profile=profile)
